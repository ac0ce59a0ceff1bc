//! How much memory JSON needs once it is parsed, so that a short text cannot need much.

/// Bytes of a parsed value. Few texts have a value in fewer bytes.
const VALUE: usize = 64;

/// The memory that a JSON text needs when it is parsed, roughly: its bytes, or 64 for each of its values if that is more.
pub(super) fn weight(json: &[u8]) -> usize {
    let (mut values, mut is_in_string, mut is_escaped) = (1_usize, false, false);
    for byte in json {
        match byte {
            _ if is_escaped => is_escaped = false,
            b'\\' if is_in_string => is_escaped = true,
            b'"' => is_in_string = !is_in_string,
            b',' | b'[' | b'{' if !is_in_string => values += 1,
            _ => {}
        }
    }
    json.len().max(values * VALUE)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_count_and_texts_do_not() {
        assert_eq!(weight(br#""a, [b] \", {c""#), VALUE);
        assert_eq!(weight(br#"{"a": [1, 2]}"#), 4 * VALUE);
        assert_eq!(weight(" ".repeat(1000).as_bytes()), 1000);
    }
}
