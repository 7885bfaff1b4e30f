//! How a file of SQL declares its statements, so that none can be left out of the prepare-all suite.

/// Declares constants of SQL text, and `ALL` with every one of them.
///
/// A macro, because a list written by hand would one day miss a statement.
macro_rules! statements {
    ($($(#[$meta:meta])* $name:ident = $text:expr;)+) => {
        $($(#[$meta])* const $name: &str = $text;)+

        /// Every statement of this file, by name.
        #[cfg(feature = "testing")]
        pub(crate) const ALL: &[(&str, &str)] = &[$((stringify!($name), $name)),+];
    };
}
