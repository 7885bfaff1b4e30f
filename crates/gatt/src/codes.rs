//! Enumerations that keep what they do not know.

/// Defines a one-byte enumeration with a variant for unknown codes, so that an unknown code survives decoding and
/// encoding. A function cannot define a type, hence the macro.
macro_rules! coded_enum {
    (
        $(#[$meta:meta])*
        pub enum $name:ident, field $field:literal, unknown $prefix:literal {
            $( $(#[$variant_meta:meta])* $code:literal => $variant:ident $text:literal, )+
        }
    ) => {
        $(#[$meta])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum $name {
            $( $(#[$variant_meta])* $variant, )+
            /// A code without a meaning known here, kept as sent.
            Unknown(u8),
        }

        impl $name {
            /// The meaning of `code`.
            #[must_use]
            pub const fn from_code(code: u8) -> Self {
                match code {
                    $( $code => Self::$variant, )+
                    other => Self::Unknown(other),
                }
            }

            /// The code as sent.
            #[must_use]
            pub const fn code(self) -> u8 {
                match self {
                    $( Self::$variant => $code, )+
                    Self::Unknown(code) => code,
                }
            }

            /// Stable spelling, as the `decode` command prints it; unknown codes carry their number.
            #[must_use]
            pub fn name(self) -> ::alloc::borrow::Cow<'static, str> {
                match self {
                    $( Self::$variant => ::alloc::borrow::Cow::Borrowed($text), )+
                    Self::Unknown(code) => ::alloc::borrow::Cow::Owned(::alloc::format!(concat!($prefix, "{}"), code)),
                }
            }

            /// The code, unless an `Unknown` holds a known code and would decode as something else, or the code is
            /// larger than `max`.
            pub(crate) fn checked_code(self, max: u8) -> Result<u8, $crate::EncodeError> {
                let code = self.code();
                if Self::from_code(code) == self && code <= max {
                    Ok(code)
                } else {
                    Err($crate::EncodeError::OutOfRange { field: $field })
                }
            }
        }
    };
}

pub(crate) use coded_enum;

/// Names of the bits that are set in `raw`, in the order of `names`.
pub(crate) fn set_names(raw: u16, names: &'static [(u16, &'static str)]) -> impl Iterator<Item = &'static str> {
    names
        .iter()
        .filter(move |(mask, _)| raw & mask != 0)
        .map(|(_, name)| *name)
}
