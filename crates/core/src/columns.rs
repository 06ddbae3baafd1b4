//! A look at a change's columns before Automerge reads them: how many rows they claim, and which actors
//! they name. A run of a trillion equal operations takes forty bytes, and Automerge counts them one by
//! one; an actor that the change doesn't list makes it panic. Leaves everything else to `guard`.
//!
//! The layout is the one of <https://automerge.org/automerge-binary-format-spec/>, "Change Reference".

/// Most rows of a column. Above an honest change's operations, and above the predecessors that fit into
/// the largest body without being all alike.
const ROWS_MAX: u64 = 128 * 1024;

/// Checks an uncompressed change chunk; its first nine bytes have been looked at.
pub(crate) fn check(chunk: &[u8]) -> Result<(), &'static str> {
    let mut reader = Reader(chunk.get(9..).unwrap_or_default());
    let columns = header(&mut reader).ok_or("not a change")?;
    for (kind, length) in columns.list {
        let data = reader.take(length).ok_or("not a change")?;
        let rows = match kind {
            GROUP | ACTOR | INTEGER | DELTA | TEXT | VALUE_HEADS => {
                runs(Reader(data), kind, columns.actors)
            }
            BOOLEAN => booleans(Reader(data)),
            _ => Some(0),
        };
        if rows.is_none_or(|rows| rows > ROWS_MAX) {
            return Err("columns with too many rows, or with unknown actors");
        }
    }
    Ok(())
}

const GROUP: u64 = 0;
const ACTOR: u64 = 1;
const INTEGER: u64 = 2;
const DELTA: u64 = 3;
const BOOLEAN: u64 = 4;
const TEXT: u64 = 5;
const VALUE_HEADS: u64 = 6;

struct Columns {
    /// How many actors the change lists, its own included.
    actors: u64,
    /// The kind and length of each column.
    list: Vec<(u64, u64)>,
}

fn header(reader: &mut Reader<'_>) -> Option<Columns> {
    reader.number()?;
    let deps = reader.number()?;
    reader.take(deps.checked_mul(32)?)?;
    reader.bytes()?;
    // Sequence number, first operation's counter, time.
    for _ in 0..3 {
        reader.number()?;
    }
    reader.bytes()?;
    let others = reader.number()?;
    for _ in 0..others {
        reader.bytes()?;
    }
    let count = reader.number()?;
    let mut list = Vec::new();
    for _ in 0..count {
        list.push((reader.number()? & 7, reader.number()?));
    }
    Some(Columns { actors: others.checked_add(1)?, list })
}

/// The rows of a run-length encoded column: a positive count and one value, a negative count and as many
/// values, or zero and a count of nulls. For a group, which holds how many rows of other columns belong
/// to each row, the sum of these if it is higher.
fn runs(mut reader: Reader<'_>, kind: u64, actors: u64) -> Option<u64> {
    let (mut rows, mut inner) = (0_u64, 0_u64);
    while !reader.0.is_empty() {
        let count = reader.signed()?;
        let (values, repeats) = match count {
            0 => (0, reader.number()?),
            1.. => (1, count.unsigned_abs()),
            ..0 => (count.unsigned_abs(), 1),
        };
        rows = rows.checked_add(repeats.checked_mul(values.max(1))?)?;
        if rows > ROWS_MAX {
            return None;
        }
        for _ in 0..values {
            let value = match kind {
                TEXT => reader.bytes().map(|_| 0)?,
                _ => reader.number()?,
            };
            if kind == ACTOR && value >= actors {
                return None;
            }
            if kind == GROUP {
                inner = inner.checked_add(value.checked_mul(repeats)?)?;
            }
        }
    }
    Some(rows.max(inner))
}

fn booleans(mut reader: Reader<'_>) -> Option<u64> {
    let mut rows = 0_u64;
    while !reader.0.is_empty() {
        rows = rows.checked_add(reader.number()?)?;
    }
    Some(rows)
}

/// What is left to be read.
struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn take(&mut self, count: u64) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(usize::try_from(count).ok()?)?;
        self.0 = rest;
        Some(taken)
    }

    fn bytes(&mut self) -> Option<&'a [u8]> {
        let length = self.number()?;
        self.take(length)
    }

    /// LEB128: seven bits in each byte, the lowest first; also gives how many bits there were.
    fn leb128(&mut self) -> Option<(u64, u32)> {
        let (mut value, mut shift) = (0_u64, 0);
        loop {
            let byte = self.take(1)?[0];
            if shift < 64 {
                value |= u64::from(byte & 0x7f) << shift;
            }
            shift += 7;
            if byte & 0x80 == 0 {
                return Some((value, shift));
            }
            if shift > 63 {
                return (self.take(1)?[0] & 0x80 == 0).then_some((value | 1 << 63, 64));
            }
        }
    }

    fn number(&mut self) -> Option<u64> {
        self.leb128().map(|(value, _)| value)
    }

    fn signed(&mut self) -> Option<i64> {
        let (value, bits) = self.leb128()?;
        let value = value as i64;
        // The highest bit that was written is the sign.
        Some(if bits < 64 { value << (64 - bits) >> (64 - bits) } else { value })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A change with one column, of this kind and with these bytes.
    fn change(kind: u8, data: &[u8]) -> Vec<u8> {
        let mut chunk = vec![0; 9];
        let body = [&[0, 1, 7, 1, 1, 0, 0, 0, 1, 0x10 | kind, data.len() as u8], data].concat();
        chunk.push(body.len() as u8);
        chunk.extend(body);
        chunk
    }

    #[test]
    fn runs_are_counted_and_not_unrolled() {
        let text = TEXT as u8;
        assert_eq!(check(&change(text, &[2, 1, b'x', 0x7e, 1, b'y', 1, b'z', 0, 3])), Ok(()));
        let trillion = [0x80, 0x80, 0x80, 0x80, 0x80, 0x20];
        assert!(check(&change(text, &[&trillion[..], &[1, b'x']].concat())).is_err());
        assert!(check(&change(text, &[&[0], &trillion[..]].concat())).is_err());
        assert!(check(&change(BOOLEAN as u8, &trillion)).is_err());
        // Two rows, to which a trillion others belong.
        assert!(check(&change(GROUP as u8, &[&[2], &trillion[..]].concat())).is_err());
        // The only actor has number 0.
        assert_eq!(check(&change(ACTOR as u8, &[5, 0])), Ok(()));
        assert!(check(&change(ACTOR as u8, &[5, 1])).is_err());
        assert!(check(&change(text, &[2, 9, b'x'])).is_err());
    }
}
