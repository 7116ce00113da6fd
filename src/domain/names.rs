//! Names for the variants of an enum.

/// Implements `ALL`, `as_str`, `Display` and `FromStr` for an enum without fields, from the names of
/// its variants. `$kind` says in messages what the names stand for.
macro_rules! name_variants {
    ($type:ty, $kind:literal, { $($variant:ident => $name:literal,)+ }) => {
        impl $type {
            /// Every variant, in the order of the enum.
            pub const ALL: [Self; [$($name),+].len()] = {
                let all = [$(Self::$variant),+];
                let mut index = 0;
                while index < all.len() {
                    assert!(all[index] as usize == index, "named in another order");
                    index += 1;
                }
                all
            };

            /// Returns the name used in the queue, in flags, in JSON and on the screen.
            pub const fn as_str(self) -> &'static str {
                match self {
                    $(Self::$variant => $name,)+
                }
            }
        }

        impl std::fmt::Display for $type {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.pad(self.as_str())
            }
        }

        impl std::str::FromStr for $type {
            type Err = String;

            fn from_str(name: &str) -> Result<Self, String> {
                let found = Self::ALL.into_iter().find(|variant| variant.as_str() == name);
                found.ok_or_else(|| {
                    let names = Self::ALL.map(Self::as_str).join(", ");
                    format!(concat!("unknown ", $kind, " `{}`; expected one of {}"), name, names)
                })
            }
        }
    };
}
pub(crate) use name_variants;
