//! The JSON Schema of the configuration file, for editors and for checks in a pipeline; our own checks use it, too.

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

/// Implements the schema of a string with a syntax of its own: `check_format` of the document checks the `format`,
/// editors check the `pattern`. The first form also defines a type that stands for the schema alone.
macro_rules! text_schema {
    (struct $name:ident, $($schema:tt)*) => {
        pub(crate) struct $name;
        text_schema!($name, $($schema)*);
    };
    ($name:ident, $format:expr, $pattern:expr) => {
        impl schemars::JsonSchema for $name {
            fn schema_name() -> std::borrow::Cow<'static, str> {
                stringify!($name).into()
            }

            fn inline_schema() -> bool {
                true
            }

            fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
                schemars::json_schema!({ "type": "string", "format": $format, "pattern": $pattern })
            }
        }
    };
}
pub(super) use text_schema;
