//! The shape of a payload as postcard sees it: names, order, widths, and the order of variants.
//!
//! A [`Tracer`] is a serde deserializer without input. It writes down what a type asks for and
//! answers with zeros; an enum's variants are taken one by one, over as many runs as that needs.

use std::collections::BTreeMap;
use std::fmt;

use serde::de::{
    self, DeserializeOwned, DeserializeSeed, Deserializer, EnumAccess, IntoDeserializer, SeqAccess,
    VariantAccess, Visitor,
};

/// Runs after which an enum must have shown all its variants.
const RUNS_MAX: usize = 1_000;

/// Returns the shape of `T` in one line, and the last of the values that the tracing made.
pub fn trace<T: DeserializeOwned>() -> (String, T) {
    let mut enums = Enums::default();
    for run in 0..RUNS_MAX {
        enums.run = run;
        let mut shape = String::new();
        let tracer = Tracer {
            enums: &mut enums,
            out: &mut shape,
        };
        let value = T::deserialize(tracer).unwrap_or_else(|error| panic!("{error}"));
        if enums
            .known
            .values()
            .flatten()
            .all(|(_, seen)| seen.is_some())
        {
            return (shape + &enums.definitions(), value);
        }
    }
    panic!("an enum did not show all its variants");
}

/// The enums met so far: each variant's name, and its content once it was taken.
#[derive(Default)]
struct Enums {
    run: usize,
    known: BTreeMap<&'static str, Vec<(&'static str, Option<String>)>>,
}

impl Enums {
    fn choose(&mut self, name: &'static str, variants: &'static [&'static str]) -> usize {
        let known = self
            .known
            .entry(name)
            .or_insert_with(|| variants.iter().map(|variant| (*variant, None)).collect());
        assert!(
            known.iter().map(|(variant, _)| variant).eq(variants),
            "two enums called {name} in one payload: rename one"
        );
        let untaken = known.iter().position(|(_, content)| content.is_none());
        untaken.unwrap_or(self.run % variants.len())
    }

    fn definitions(&self) -> String {
        let mut text = String::new();
        for (name, variants) in &self.known {
            let variants: Vec<String> = variants
                .iter()
                .map(|(variant, content)| format!("{variant}{}", content.as_deref().unwrap_or("?")))
                .collect();
            text += &format!("; {name} = {}", variants.join(" | "));
        }
        text
    }
}

/// A type asked for something that no stored payload may hold.
#[derive(Debug)]
struct Refused(String);

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "not for a stored payload: {}", self.0)
    }
}

impl std::error::Error for Refused {}

impl de::Error for Refused {
    fn custom<T: fmt::Display>(message: T) -> Self {
        Self(message.to_string())
    }
}

struct Tracer<'a> {
    enums: &'a mut Enums,
    out: &'a mut String,
}

impl Tracer<'_> {
    fn within(&mut self) -> Tracer<'_> {
        Tracer {
            enums: self.enums,
            out: self.out,
        }
    }
}

macro_rules! plain {
    ($($method:ident $visit:ident $name:literal $zero:expr;)*) => {
        $(fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Refused> {
            self.out.push_str($name);
            visitor.$visit($zero)
        })*
    };
}

macro_rules! refused {
    ($($method:ident($($argument:ty),*) $name:literal;)*) => {
        $(fn $method<V: Visitor<'de>>(self, $(_: $argument,)* _: V) -> Result<V::Value, Refused> {
            Err(Refused($name.into()))
        })*
    };
}

impl<'de> Deserializer<'de> for Tracer<'_> {
    type Error = Refused;

    plain! {
        deserialize_bool visit_bool "bool" false;
        deserialize_i8 visit_i8 "i8" 0;
        deserialize_i16 visit_i16 "i16" 0;
        deserialize_i32 visit_i32 "i32" 0;
        deserialize_i64 visit_i64 "i64" 0;
        deserialize_u8 visit_u8 "u8" 0;
        deserialize_u16 visit_u16 "u16" 0;
        deserialize_u32 visit_u32 "u32" 0;
        deserialize_u64 visit_u64 "u64" 0;
        deserialize_str visit_str "text" "";
        deserialize_string visit_str "text" "";
    }

    refused! {
        deserialize_any() "a self-describing type";
        deserialize_ignored_any() "an ignored field";
        deserialize_identifier() "a lone identifier";
        deserialize_f32() "a float";
        deserialize_f64() "a float";
        deserialize_char() "a char";
        deserialize_bytes() "serde bytes: use a Vec of u8";
        deserialize_byte_buf() "serde bytes: use a Vec of u8";
        deserialize_map() "a map";
        deserialize_unit() "a unit";
        deserialize_unit_struct(&'static str) "a unit struct";
        deserialize_tuple_struct(&'static str, usize) "a tuple struct: name the fields";
    }

    fn deserialize_option<V: Visitor<'de>>(mut self, visitor: V) -> Result<V::Value, Refused> {
        self.out.push_str("option<");
        let value = visitor.visit_some(self.within())?;
        self.out.push('>');
        Ok(value)
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        visitor: V,
    ) -> Result<V::Value, Refused> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_seq<V: Visitor<'de>>(mut self, visitor: V) -> Result<V::Value, Refused> {
        self.out.push_str("list<");
        let value = visitor.visit_seq(Elements {
            tracer: self.within(),
            fields: &[],
            left: 1,
            at: 0,
        })?;
        self.out.push('>');
        Ok(value)
    }

    fn deserialize_tuple<V: Visitor<'de>>(
        self,
        length: usize,
        visitor: V,
    ) -> Result<V::Value, Refused> {
        let mut first = String::new();
        let value = visitor.visit_seq(Elements {
            tracer: Tracer {
                enums: self.enums,
                out: &mut first,
            },
            fields: &[],
            left: length,
            at: 0,
        })?;
        // Only arrays, whose elements are alike, are written by their length.
        let element = first.get(..first.len() / length.max(1)).unwrap_or_default();
        if element.repeat(length) != first {
            return Err(Refused("a tuple: name the fields".into()));
        }
        self.out.push_str(&format!("[{element}; {length}]"));
        Ok(value)
    }

    fn deserialize_struct<V: Visitor<'de>>(
        mut self,
        _: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Refused> {
        self.out.push('{');
        let value = visitor.visit_seq(Elements {
            tracer: self.within(),
            fields,
            left: fields.len(),
            at: 0,
        })?;
        self.out.push('}');
        Ok(value)
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        name: &'static str,
        variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Refused> {
        self.out.push_str(name);
        let chosen = self.enums.choose(name, variants);
        let mut content = String::new();
        let value = visitor.visit_enum(Variant {
            tracer: Tracer {
                enums: self.enums,
                out: &mut content,
            },
            chosen,
        })?;
        let known = self.enums.known.get_mut(name).expect("chosen above");
        known[chosen].1 = Some(content);
        Ok(value)
    }

    fn is_human_readable(&self) -> bool {
        false
    }
}

/// The elements of a list, or the fields of a struct with their names.
struct Elements<'a> {
    tracer: Tracer<'a>,
    fields: &'static [&'static str],
    left: usize,
    at: usize,
}

impl<'de> SeqAccess<'de> for Elements<'_> {
    type Error = Refused;

    fn next_element_seed<S: DeserializeSeed<'de>>(
        &mut self,
        seed: S,
    ) -> Result<Option<S::Value>, Refused> {
        if self.at == self.left {
            return Ok(None);
        }
        if let Some(field) = self.fields.get(self.at) {
            let comma = if self.at == 0 { "" } else { ", " };
            self.tracer.out.push_str(&format!("{comma}{field}: "));
        }
        self.at += 1;
        seed.deserialize(self.tracer.within()).map(Some)
    }
}

struct Variant<'a> {
    tracer: Tracer<'a>,
    chosen: usize,
}

impl<'de, 'a> EnumAccess<'de> for Variant<'a> {
    type Error = Refused;
    type Variant = Tracer<'a>;

    fn variant_seed<S: DeserializeSeed<'de>>(
        self,
        seed: S,
    ) -> Result<(S::Value, Tracer<'a>), Refused> {
        let index = u32::try_from(self.chosen).expect("enums have few variants");
        let name = seed.deserialize(index.into_deserializer())?;
        Ok((name, self.tracer))
    }
}

impl<'de> VariantAccess<'de> for Tracer<'_> {
    type Error = Refused;

    fn unit_variant(self) -> Result<(), Refused> {
        Ok(())
    }

    fn newtype_variant_seed<S: DeserializeSeed<'de>>(
        mut self,
        seed: S,
    ) -> Result<S::Value, Refused> {
        self.out.push('(');
        let value = seed.deserialize(self.within())?;
        self.out.push(')');
        Ok(value)
    }

    fn tuple_variant<V: Visitor<'de>>(self, _: usize, _: V) -> Result<V::Value, Refused> {
        Err(Refused(
            "a variant of several parts: name its fields".into(),
        ))
    }

    fn struct_variant<V: Visitor<'de>>(
        self,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Refused> {
        self.deserialize_struct("", fields, visitor)
    }
}
