//! Reads a QR code as a phone's camera does: from the picture alone.

/// Pixels of the picture to a unit of the SVG.
const SCALE: usize = 2;

/// The text of the QR code in an SVG with a path of rectangles `Mx yhWvHh-W…`.
pub fn read(svg: &str) -> String {
    let side = attribute(svg, "width").parse::<usize>().unwrap() * SCALE;
    let mut dark = vec![false; side * side];
    for rectangle in attribute(svg, "d").split('M').skip(1) {
        let numbers: Vec<usize> = rectangle
            .split(|c: char| !c.is_ascii_digit())
            .filter(|text| !text.is_empty())
            .map(|text| text.parse::<usize>().unwrap() * SCALE)
            .collect();
        let [left, top, width, height, ..] = numbers[..] else {
            panic!("not a rectangle: {rectangle}");
        };
        for y in top..top + height {
            dark[y * side + left..y * side + left + width].fill(true);
        }
    }
    let mut picture =
        rqrr::PreparedImage::prepare_from_bitmap(side, side, |x, y| dark[y * side + x]);
    let codes = picture.detect_grids();
    assert_eq!(codes.len(), 1, "one QR code");
    codes[0].decode().unwrap().1
}

fn attribute<'a>(svg: &'a str, name: &str) -> &'a str {
    let start = format!(" {name}=\"");
    svg.split(start.as_str())
        .nth(1)
        .unwrap()
        .split('"')
        .next()
        .unwrap()
}
