//! Movies for tests, made box by box.

/// Returns a box.
pub(super) fn make_box(kind: &[u8; 4], content: &[u8]) -> Vec<u8> {
    let size = u32::try_from(content.len() + 8).unwrap();
    [&size.to_be_bytes()[..], kind, content].concat()
}

/// Concatenates numbers of four bytes.
fn numbers(numbers: &[u32]) -> Vec<u8> {
    numbers
        .iter()
        .flat_map(|number| number.to_be_bytes())
        .collect()
}

/// Returns a movie box of 5 seconds with one track, whose samples of these sizes are at `offset` in the
/// file.
pub(super) fn make_moov(handler: &[u8; 4], offset: u32, sizes: &[u32]) -> Vec<u8> {
    let count = u32::try_from(sizes.len()).unwrap();
    let table = [
        make_box(b"stts", &numbers(&[0, 1, count, 100])),
        make_box(b"stsc", &numbers(&[0, 1, 1, count, 1])),
        make_box(b"stsz", &[numbers(&[0, 0, count]), numbers(sizes)].concat()),
        make_box(b"stco", &numbers(&[0, 1, offset])),
    ];
    let handler = [&numbers(&[0, 0])[..], handler, &[0; 13]].concat();
    let media = [
        make_box(b"mdhd", &numbers(&[0, 0, 0, 1000, 5000, 0])),
        make_box(b"hdlr", &handler),
        make_box(b"minf", &make_box(b"stbl", &table.concat())),
    ];
    make_box(
        b"moov",
        &make_box(b"trak", &make_box(b"mdia", &media.concat())),
    )
}

/// Returns a whole movie with its data first.
pub(super) fn make_movie(brand: &[u8; 4]) -> Vec<u8> {
    let ftyp = make_box(b"ftyp", &[&brand[..], &[0; 4]].concat());
    let offset = u32::try_from(ftyp.len() + 8).unwrap();
    [
        ftyp,
        make_box(b"mdat", &[7; 40]),
        make_moov(b"vide", offset, &[15, 25]),
    ]
    .concat()
}

/// Returns a QuickTime movie without a file type, as the oldest are.
pub(super) fn make_old_movie() -> Vec<u8> {
    [
        make_box(b"mdat", &[7; 40]),
        make_moov(b"vide", 8, &[15, 25]),
    ]
    .concat()
}
