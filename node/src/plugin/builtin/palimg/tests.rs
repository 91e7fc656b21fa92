use super::*;

/// Black, white, and two more.
const PALETTE: [u8; 12] = [0, 0, 0, 255, 255, 255, 10, 20, 30, 200, 100, 50];

fn changed(text: &str) -> Option<[u8; 12]> {
    let mut palette = PALETTE;
    Change::read(text.as_bytes())?.apply(&mut palette);
    Some(palette)
}

/// The palettes are those that Perlbal makes.
#[test]
fn palettes_change_as_in_perlbal() {
    for (text, palette) in [
        ("tff0000", [0, 0, 0, 255, 0, 0, 10, 0, 0, 200, 0, 0]),
        ("tff000000ff00", [0, 255, 0, 255, 0, 0, 10, 235, 0, 200, 155, 0]),
        (
            "g00ff0000030000ff",
            [255, 0, 0, 170, 0, 85, 85, 0, 170, 0, 0, 255],
        ),
        (
            "0ff000030000ff",
            [255, 0, 0, 255, 255, 255, 10, 20, 30, 0, 0, 255],
        ),
        ("cff0000", PALETTE),
    ] {
        assert_eq!(changed(text), Some(palette), "{text}");
    }
}

#[test]
fn what_is_no_change() {
    for text in [
        "",
        "zz",
        "t",
        "tFF0000",
        "tff00",
        "tff0000/x",
        "tff0000f",
        "g00ff000003",
        "0ff000",
        "0ff00001",
        "0ff00001ff00002ff00003ff00004ff00005ff00006ff0000",
    ] {
        assert_eq!(Change::read(text.as_bytes()), None, "{text}");
    }
}

#[test]
fn paths_are_split() {
    let split = |path: &'static str| split(path.as_bytes());
    assert_eq!(
        split("/palimg/a.gif/ptff0000"),
        Some((&b"/palimg/a.gif"[..], &b"tff0000"[..]))
    );
    for path in [
        "/palimg/a.gif",
        "/palimg/a.gif/p",
        "/palimg/a.gif/x",
        "/other/a.gif/ptff0000",
    ] {
        assert_eq!(split(path), None, "{path}");
    }
}

fn chunk(kind: &[u8], content: &[u8]) -> Vec<u8> {
    let checked = [kind, content].concat();
    let length = u32::try_from(content.len()).unwrap().to_be_bytes();
    [&length[..], &checked, &crc32fast::hash(&checked).to_be_bytes()].concat()
}

#[test]
fn a_png_keeps_all_but_its_palette() {
    let png = |kind: u8, palette: &[u8]| {
        let head = [0, 0, 0, 2, 0, 0, 0, 2, 8, kind, 0, 0, 0];
        let chunks = [
            chunk(b"IHDR", &head),
            chunk(b"PLTE", palette),
            chunk(b"IEND", b""),
        ];
        [b"\x89PNG\r\n\x1a\n".to_vec(), chunks.concat()].concat()
    };
    let change = Change::read(b"tff0000").unwrap();
    let mut bytes = png(3, &PALETTE);
    picture::recolour(Kind::Png, &mut bytes, &change).unwrap();
    assert_eq!(bytes, png(3, &changed("tff0000").unwrap()));
    let mut other = png(2, &PALETTE);
    assert_eq!(picture::recolour(Kind::Png, &mut other, &change), None);
}

proptest::proptest! {
    #[test]
    fn no_bytes_upset_it(kind in proptest::bool::ANY, mut bytes in proptest::collection::vec(proptest::num::u8::ANY, 0..60)) {
        let change = Change::read(b"gf0ff0000ff0000ff").unwrap();
        let (kind, magic) = if kind { (Kind::Gif, &b"GIF89a"[..]) } else { (Kind::Png, &b"\x89PNG\r\n\x1a\n"[..]) };
        let mut whole = magic.to_vec();
        whole.append(&mut bytes);
        let _ = picture::recolour(kind, &mut whole, &change);
    }
}
