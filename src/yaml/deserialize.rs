//! Serde reads a tree of nodes. No conversions: a number is never a string, and a string never a number.

use serde::de::value::BorrowedStrDeserializer;
use serde::de::{
    self, DeserializeSeed, Deserializer, EnumAccess, MapAccess, SeqAccess, VariantAccess, Visitor,
};
use serde::forward_to_deserialize_any;

use super::Issue;
use super::fault::{Cause, Fault, one_of};
use super::node::{Entry, Kind, Node};
use super::path::Step;

impl Node {
    fn is_placeholder(&self) -> bool {
        matches!(self.kind, Kind::Placeholder(_))
    }

    /// Reads the node. Every node is read through here, so that no fault prints what came from the environment.
    pub(super) fn read<'de, T: DeserializeSeed<'de>>(&'de self, seed: T) -> Result<T::Value, Fault> {
        seed.deserialize(self).map_err(|fault| match fault.is_here() {
            true if self.holds_secret() => fault.redacted(self.written.as_deref()),
            true => fault.with_found(|| self.as_written()),
            false => fault,
        })
    }

    /// How a number looks in the text, where `2.40` and `2.4` differ.
    fn as_written(&self) -> Option<String> {
        match self.kind {
            Kind::Unsigned(_) | Kind::Signed(_) | Kind::Float(_) => {
                Some(format!("the number {}", self.written.as_ref()?))
            }
            _ => None,
        }
    }
}

/// A scalar type: what a stand-in gives, and else what the node holds.
macro_rules! scalar {
    ($($method:ident => $visit:ident($empty:expr);)*) => {
        $(fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
            if self.is_placeholder() { visitor.$visit($empty) } else { self.deserialize_any(visitor) }
        })*
    };
}

impl<'de> Deserializer<'de> for &'de Node {
    type Error = Fault;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        match &self.kind {
            Kind::Null | Kind::Placeholder(_) | Kind::Gone => visitor.visit_unit(),
            Kind::Bool(value) => visitor.visit_bool(*value),
            Kind::Unsigned(number) => visitor.visit_u64(*number),
            Kind::Signed(number) => visitor.visit_i64(*number),
            Kind::Float(number) => visitor.visit_f64(*number),
            Kind::String(text) => visitor.visit_borrowed_str(text),
            Kind::List(nodes) => visitor.visit_seq(Elements {
                rest: nodes.iter().enumerate(),
            }),
            Kind::Mapping(entries) => visitor.visit_map(Entries::new(entries)),
        }
    }

    scalar! {
        deserialize_bool => visit_bool(false);
        deserialize_u8 => visit_u8(0);
        deserialize_u16 => visit_u16(0);
        deserialize_u32 => visit_u32(0);
        deserialize_u64 => visit_u64(0);
        deserialize_i8 => visit_i8(0);
        deserialize_i16 => visit_i16(0);
        deserialize_i32 => visit_i32(0);
        deserialize_i64 => visit_i64(0);
        deserialize_f32 => visit_f32(0.0);
        deserialize_f64 => visit_f64(0.0);
        deserialize_str => visit_borrowed_str("");
        deserialize_string => visit_borrowed_str("");
        deserialize_seq => visit_seq(Elements { rest: [].iter().enumerate() });
        deserialize_map => visit_map(Entries::new(&[]));
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        match self.kind {
            Kind::Null | Kind::Placeholder(_) => visitor.visit_none(),
            _ => visitor.visit_some(self),
        }
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        visitor: V,
    ) -> Result<V::Value, Fault> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        _fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Fault> {
        match &self.kind {
            Kind::Placeholder(entries) => visitor.visit_map(Entries::new(entries)),
            // Serde would read a list as the fields in their order: nobody writes that.
            Kind::List(_) => Err(de::Error::invalid_type(de::Unexpected::Seq, &"a mapping")),
            _ => self.deserialize_any(visitor),
        }
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _name: &'static str,
        variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Fault> {
        let variant = match &self.kind {
            Kind::String(name) => Variant { name, content: None },
            Kind::Mapping(entries) if entries.len() == 1 => Variant {
                name: &entries[0].key,
                content: Some(&entries[0].value),
            },
            _ => return Err(Fault::wrong(not_a_variant(self, variants))),
        };
        visitor.visit_enum(variant)
    }

    fn deserialize_ignored_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        visitor.visit_unit()
    }

    forward_to_deserialize_any! {
        i128 u128 char bytes byte_buf unit unit_struct tuple tuple_struct identifier
    }
}

fn not_a_variant(node: &Node, variants: &[&str]) -> Issue {
    let found = match &node.kind {
        Kind::Mapping(entries) if entries.is_empty() => "an empty mapping",
        Kind::Mapping(_) => "several keys",
        Kind::List(_) => "a list",
        Kind::Null => "nothing",
        _ => "another value",
    };
    Issue::new(format!("expected {}", one_of(variants))).found(found)
}

struct Elements<'de> {
    rest: std::iter::Enumerate<std::slice::Iter<'de, Node>>,
}

impl<'de> SeqAccess<'de> for Elements<'de> {
    type Error = Fault;

    fn next_element_seed<T: DeserializeSeed<'de>>(&mut self, seed: T) -> Result<Option<T::Value>, Fault> {
        let Some((index, node)) = self.rest.find(|(_, node)| !matches!(node.kind, Kind::Gone)) else {
            return Ok(None);
        };
        node.read(seed)
            .map(Some)
            .map_err(|fault| fault.below(Step::Index(index)))
    }
}

/// The entries of a mapping, the stand-ins last: when one of them is refused, all the others have been read.
struct Entries<'de> {
    rest: std::vec::IntoIter<&'de Entry>,
    current: Option<&'de Entry>,
}

impl<'de> Entries<'de> {
    fn new(entries: &'de [Entry]) -> Self {
        let mut entries: Vec<&Entry> = entries.iter().collect();
        entries.sort_by_key(|entry| entry.value.is_placeholder());
        Self {
            rest: entries.into_iter(),
            current: None,
        }
    }
}

impl<'de> MapAccess<'de> for Entries<'de> {
    type Error = Fault;

    fn next_key_seed<K: DeserializeSeed<'de>>(&mut self, seed: K) -> Result<Option<K::Value>, Fault> {
        self.current = self.rest.next();
        let Some(entry) = self.current else {
            return Ok(None);
        };
        let key = BorrowedStrDeserializer::<Fault>::new(&entry.key);
        seed.deserialize(key)
            .map(Some)
            .map_err(|fault| match fault.cause {
                Cause::UnknownKey { .. } => fault,
                _ => fault.below(Step::Key(entry.key.clone())),
            })
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value, Fault> {
        let Some(entry) = self.current else {
            return Err(de::Error::custom("a value before its key"));
        };
        entry
            .value
            .read(seed)
            .map_err(|fault| fault.below(Step::Key(entry.key.clone())))
    }
}

/// A variant of an enum: its name alone, or a mapping with the name as its only key.
struct Variant<'de> {
    name: &'de str,
    content: Option<&'de Node>,
}

impl<'de> EnumAccess<'de> for Variant<'de> {
    type Error = Fault;
    type Variant = Self;

    fn variant_seed<V: DeserializeSeed<'de>>(self, seed: V) -> Result<(V::Value, Self), Fault> {
        Ok((seed.deserialize(BorrowedStrDeserializer::new(self.name))?, self))
    }
}

impl<'de> Variant<'de> {
    fn content<T: DeserializeSeed<'de>>(self, seed: T) -> Result<T::Value, Fault> {
        let Some(content) = self.content else {
            return Err(Fault::wrong(Issue::new(format!("`{}` needs a value", self.name))));
        };
        content
            .read(seed)
            .map_err(|fault| fault.below(Step::Key(self.name.to_owned())))
    }
}

impl<'de> VariantAccess<'de> for Variant<'de> {
    type Error = Fault;

    fn unit_variant(self) -> Result<(), Fault> {
        match self.content {
            None => Ok(()),
            Some(_) => Err(Fault::wrong(Issue::new(format!(
                "`{}` takes no value",
                self.name
            )))),
        }
    }

    fn newtype_variant_seed<T: DeserializeSeed<'de>>(self, seed: T) -> Result<T::Value, Fault> {
        self.content(seed)
    }

    fn tuple_variant<V: Visitor<'de>>(self, _len: usize, visitor: V) -> Result<V::Value, Fault> {
        self.content(Fields {
            visitor,
            in_order: true,
        })
    }

    fn struct_variant<V: Visitor<'de>>(
        self,
        _fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Fault> {
        self.content(Fields {
            visitor,
            in_order: false,
        })
    }
}

/// The fields of a variant, read like a type of their own.
struct Fields<V> {
    visitor: V,
    in_order: bool,
}

impl<'de, V: Visitor<'de>> DeserializeSeed<'de> for Fields<V> {
    type Value = V::Value;

    fn deserialize<D: Deserializer<'de>>(self, from: D) -> Result<V::Value, D::Error> {
        match self.in_order {
            true => from.deserialize_seq(self.visitor),
            false => from.deserialize_struct("", &[], self.visitor),
        }
    }
}
