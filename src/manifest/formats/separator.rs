//! Which character separates the cells of a table.

/// Characters that separate cells, the most likely first.
const SEPARATORS: [char; 4] = [',', ';', '\t', '|'];

/// Number of lines in which separators are counted.
const MAX_COUNTED_LINES: usize = 30;

/// Returns the separator of the cells: the one that occurs most often in the header, outside quotes.
pub(super) fn detect_separator(text: &str) -> u8 {
    let text = text.trim_start();
    // Excel writes `sep=;` on a line of its own.
    if let Some(declared) = text
        .strip_prefix("sep=")
        .and_then(|rest| rest.bytes().next())
        && SEPARATORS.contains(&char::from(declared))
    {
        return declared;
    }
    let lines = count_separators(text);
    let Some((first, others)) = lines.split_first() else {
        return b',';
    };
    let best_of = |counts: &[usize]| {
        let mut best = 0;
        for index in 1..SEPARATORS.len() {
            if counts[index] > counts[best] {
                best = index;
            }
        }
        best
    };
    let in_first = best_of(first);
    let like_first = others
        .iter()
        .filter(|line| line[in_first] == first[in_first]);
    let best = if first[in_first] > 0 && 2 * like_first.count() >= others.len() {
        in_first
    } else if first.iter().all(|count| *count == 0) && is_link_list(text) {
        0
    } else {
        // A title is above the table: the separator is the one that most lines have equally often.
        let weight = |index: usize| {
            let of_line = |line: &Counts| {
                let same = lines.iter().filter(|other| other[index] == line[index]);
                same.count() * line[index]
            };
            lines.iter().map(of_line).max().unwrap_or(0)
        };
        best_of(&std::array::from_fn::<_, { SEPARATORS.len() }, _>(weight))
    };
    u8::try_from(SEPARATORS[best]).unwrap_or(b',')
}

/// Returns whether a text has one column, of links, so that what is between them separates no columns.
fn is_link_list(text: &str) -> bool {
    let second = text.lines().nth(1).unwrap_or_default();
    second.trim_start_matches('"').starts_with("http")
}

/// Returns whether quotes in a text of tab-separated values are characters like others, as feeds write them: each
/// line has the same number of cells, and a cell that begins with a quote is not quoted.
pub(super) fn is_raw_tsv(text: &str) -> bool {
    let mut lines: Vec<&str> = text.lines().collect();
    // The last one may be cut.
    if !text.ends_with('\n') && lines.len() > 1 {
        lines.pop();
    }
    lines.retain(|line| !line.trim().is_empty());
    let cells = |line: &str| line.split('\t').count();
    let Some(first) = lines.first().map(|line| cells(line)) else {
        return false;
    };
    let is_badly_quoted = |cell: &str| {
        let Some(rest) = cell.strip_prefix('"') else {
            return false;
        };
        let inner = rest
            .strip_suffix('"')
            .map(|inner| inner.replace("\"\"", ""));
        inner.is_none_or(|inner| inner.contains('"'))
    };
    lines.iter().all(|line| cells(line) == first)
        && lines
            .iter()
            .any(|line| line.split('\t').any(is_badly_quoted))
}

/// How often each separator occurs in a line.
type Counts = [usize; SEPARATORS.len()];

/// Counts the separators outside quotes in the first lines of a text.
fn count_separators(text: &str) -> Vec<Counts> {
    let mut lines: Vec<Counts> = Vec::new();
    let mut counts = Counts::default();
    let mut is_empty = true;
    let mut is_quoted = false;
    for character in text.chars() {
        is_quoted ^= character == '"';
        if !is_quoted && matches!(character, '\r' | '\n') {
            if !std::mem::replace(&mut is_empty, true) {
                lines.push(std::mem::take(&mut counts));
            }
            if lines.len() == MAX_COUNTED_LINES {
                return lines;
            }
            continue;
        }
        is_empty = false;
        let separator = SEPARATORS
            .iter()
            .position(|separator| *separator == character);
        if let Some(index) = separator.filter(|_| !is_quoted) {
            counts[index] += 1;
        }
    }
    if !is_empty {
        lines.push(counts);
    }
    lines
}
