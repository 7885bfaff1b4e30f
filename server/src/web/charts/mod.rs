//! Charts drawn on the server: data in, SVG text out. Pure, so that they are tested without a page.
//!
//! All arithmetic is in whole numbers: clinical values as they are stored, positions in tenths of a pixel. Colours come
//! from the style sheet by class, so that dark mode and print need no second drawing.

mod bp;
mod scale;
mod spark;

pub(crate) use bp::{BpBand, BpChart, BpPoint, Doubt, bp_chart};
pub(crate) use spark::{SparkBand, SparkPoint, Sparkline, sparkline};

use std::fmt::Write as _;

/// An SVG under construction. Texts are escaped; everything else is ours.
struct Svg(String);

impl Svg {
    fn new() -> Self {
        Self(String::new())
    }

    /// Appends markup that contains no outside text.
    fn markup(&mut self, args: std::fmt::Arguments<'_>) {
        // Writing into a String cannot fail.
        self.0.write_fmt(args).unwrap_or_default();
    }

    /// Appends text content.
    fn text(&mut self, text: &str) {
        for c in text.chars() {
            match c {
                '<' => self.0.push_str("&lt;"),
                '>' => self.0.push_str("&gt;"),
                '&' => self.0.push_str("&amp;"),
                '"' => self.0.push_str("&quot;"),
                '\'' => self.0.push_str("&#39;"),
                c => self.0.push(c),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_in_a_drawing_are_escaped() {
        let mut svg = Svg::new();
        svg.markup(format_args!("<title>"));
        svg.text("<script>\"&'");
        assert_eq!(svg.0, "<title>&lt;script&gt;&quot;&amp;&#39;");
    }
}
