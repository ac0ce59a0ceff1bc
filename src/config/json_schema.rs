//! The JSON Schema of the configuration file, for editors and for checks in a pipeline.

use schemars::SchemaGenerator;
use serde_json::Value;

use super::raw::Document;

const ID: &str = "https://github.com/magece/mirror/mirror.schema.json";

/// The schema, in draft 2020-12, made from the types that read the file.
pub fn json_schema() -> Value {
    let mut schema = SchemaGenerator::default().into_root_schema_for::<Document>();
    schema.insert("$id".into(), ID.into());
    schema.insert("title".into(), "mirror.yaml".into());
    schema.into()
}
