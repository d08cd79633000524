//! As much of the protobuf wire format as `BuildKit`'s few messages need.
//!
//! By hand, and not with generated types: seven messages of one to seven fields are read or
//! written here, and the crates that generate them bring a whole gRPC stack along, which
//! [`crate::build_session`] does not need either: hyper speaks HTTP/2 already.

/// One field of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Value<'a> {
    Number(u64),
    /// Text, bytes, or a message.
    Bytes(&'a [u8]),
    /// Of a fixed width: nothing that is read here.
    Other,
}

impl<'a> Value<'a> {
    pub(crate) fn bytes(self) -> &'a [u8] {
        match self {
            Self::Bytes(bytes) => bytes,
            Self::Number(_) | Self::Other => &[],
        }
    }

    /// Invalid UTF-8 replaced.
    pub(crate) fn text(self) -> String {
        String::from_utf8_lossy(self.bytes()).into_owned()
    }
}

/// The fields of a message, in their order; ends at the first fault.
pub(crate) struct Fields<'a>(pub(crate) &'a [u8]);

impl<'a> Iterator for Fields<'a> {
    type Item = (u64, Value<'a>);

    fn next(&mut self) -> Option<Self::Item> {
        if self.0.is_empty() {
            return None;
        }
        let field = self.field();
        if field.is_none() {
            self.0 = &[];
        }
        field
    }
}

impl<'a> Fields<'a> {
    fn field(&mut self) -> Option<(u64, Value<'a>)> {
        let key = self.number()?;
        let value = match key & 7 {
            0 => Value::Number(self.number()?),
            1 => {
                self.take(8)?;
                Value::Other
            }
            2 => {
                let length = usize::try_from(self.number()?).ok()?;
                Value::Bytes(self.take(length)?)
            }
            5 => {
                self.take(4)?;
                Value::Other
            }
            _ => return None,
        };
        Some((key >> 3, value))
    }

    fn number(&mut self) -> Option<u64> {
        let mut number = 0;
        for shift in (0..64).step_by(7) {
            let byte = self.take(1)?[0];
            number |= u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Some(number);
            }
        }
        None
    }

    fn take(&mut self, length: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(taken)
    }
}

/// Appends a field of text, bytes or a message.
pub(crate) fn put_bytes(message: &mut Vec<u8>, field: u64, value: &[u8]) {
    put_number(message, field << 3 | 2);
    put_number(message, value.len() as u64);
    message.extend_from_slice(value);
}

/// Appends a field that holds a number.
pub(crate) fn put_varint(message: &mut Vec<u8>, field: u64, value: u64) {
    put_number(message, field << 3);
    put_number(message, value);
}

fn put_number(message: &mut Vec<u8>, mut number: u64) {
    loop {
        let byte = u8::try_from(number & 0x7f).unwrap_or_default();
        number >>= 7;
        if number == 0 {
            message.push(byte);
            return;
        }
        message.push(byte | 0x80);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read() {
        let long = vec![b'x'; 300];
        let mut message = Vec::new();
        put_bytes(&mut message, 1, b"token");
        put_varint(&mut message, 20, 1 << 40);
        put_bytes(&mut message, 3, &long);
        let fields: Vec<_> = Fields(&message).collect();
        assert_eq!(
            fields,
            [
                (1, Value::Bytes(b"token")),
                (20, Value::Number(1 << 40)),
                (3, Value::Bytes(&long)),
            ]
        );
    }

    #[test]
    fn nonsense_ends_the_message() {
        for bad in [&[0x0a, 0x7f, 1][..], &[0xff; 12], &[0x0b], &[0x09, 1]] {
            assert_eq!(Fields(bad).count(), 0, "{bad:?}");
        }
        let mut message = vec![0x0d, 1, 2, 3, 4];
        put_varint(&mut message, 2, 7);
        assert_eq!(Fields(&message).last(), Some((2, Value::Number(7))));
    }
}
