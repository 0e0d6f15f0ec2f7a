//! Draws a text as a QR code.

use std::fmt::Write;

use fast_qr::{ECL, QRBuilder};

/// The width of one module in the picture, in SVG units.
pub const MODULE: usize = 4;

/// The width of the light border around the code, in modules (ISO/IEC 18004, 9.1).
const QUIET: usize = 4;

/// Draws a text as an SVG picture with its quiet zone, at error correction level M. The picture of
/// a secret is a secret. `None` if the text is too long for a QR code (2,331 bytes).
pub fn svg(text: &str) -> Option<String> {
    let code = QRBuilder::new(text).ecl(ECL::M).build().ok()?;
    let side = (code.size + 2 * QUIET) * MODULE;
    // The string never grows, so that no copy of a secret is left behind.
    let mut svg = String::with_capacity(512 + 16 * code.size * code.size);
    let head = format_args!(
        r##"<?xml version="1.0" standalone="yes"?><svg xmlns="http://www.w3.org/2000/svg" version="1.1" width="{side}" height="{side}" viewBox="0 0 {side} {side}" shape-rendering="crispEdges"><rect width="{side}" height="{side}" fill="#fff"/><path fill="#000" d=""##
    );
    svg.write_fmt(head).ok()?;
    for y in 0..code.size {
        let top = (y + QUIET) * MODULE;
        let mut x = 0;
        for run in code[y].chunk_by(|a, b| a.value() == b.value()) {
            let (left, width) = ((x + QUIET) * MODULE, run.len() * MODULE);
            if run[0].value() {
                write!(svg, "M{left} {top}h{width}v{MODULE}h-{width}z").ok()?;
            }
            x += run.len();
        }
    }
    svg.push_str(r#""/></svg>"#);
    Some(svg)
}
