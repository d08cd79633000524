//! Where WebSocket frames begin and end, and how to say goodbye. Payloads are never looked at.

/// Two bytes, a length of up to eight and a mask of four (RFC 6455, 5.2).
const MAX_HEADER_BYTES: usize = 14;
const OPCODE_CLOSE: u8 = 8;
/// Status 1001, "going away" (RFC 6455, 7.4.1).
const GOING_AWAY: [u8; 2] = 1001_u16.to_be_bytes();

/// Follows the frames of one direction.
#[derive(Debug, Default)]
pub(crate) struct Frames {
    header: [u8; MAX_HEADER_BYTES],
    header_bytes: usize,
    payload_left: u64,
    closing: bool,
    closed: bool,
    broken: bool,
}

impl Frames {
    /// Takes note of bytes that pass.
    pub(crate) fn pass(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() && !self.broken {
            let taken = self.until_end().min(bytes.len());
            let (now, later) = bytes.split_at(taken);
            bytes = later;
            if self.payload_left > 0 {
                self.payload_left -= taken as u64;
            } else {
                let end = self.header_bytes + taken;
                self.header[self.header_bytes..end].copy_from_slice(now);
                self.header_bytes = end;
                if self.header_bytes < self.header_length() {
                    continue;
                }
                self.read_header();
            }
            if self.payload_left == 0 {
                self.closed |= self.closing;
            }
        }
    }

    /// Between two frames: another may be put in here.
    pub(crate) fn at_boundary(&self) -> bool {
        self.header_bytes == 0 && self.payload_left == 0 && !self.broken
    }

    /// A Close frame has passed: no other may follow.
    pub(crate) fn closed(&self) -> bool {
        self.closed
    }

    /// How many bytes surely belong to the frame that is passing, or to the next one.
    pub(crate) fn until_end(&self) -> usize {
        if self.broken {
            usize::MAX
        } else if self.payload_left > 0 {
            usize::try_from(self.payload_left).unwrap_or(usize::MAX)
        } else {
            self.header_length() - self.header_bytes
        }
    }

    /// As far as is known from what has been read of it.
    fn header_length(&self) -> usize {
        if self.header_bytes < 2 {
            return 2;
        }
        let length = match self.header[1] & 0x7f {
            126 => 2,
            127 => 8,
            _ => 0,
        };
        let mask = if self.header[1] & 0x80 == 0 { 0 } else { 4 };
        2 + length + mask
    }

    fn read_header(&mut self) {
        let number = |bytes: &[u8]| {
            bytes
                .iter()
                .fold(0, |number, byte| (number << 8) | u64::from(*byte))
        };
        self.payload_left = match self.header[1] & 0x7f {
            126 => number(&self.header[2..4]),
            127 => number(&self.header[2..10]),
            short => u64::from(short),
        };
        // The highest bit must be 0: this is no WebSocket.
        self.broken = self.payload_left >> 63 != 0;
        self.closing = self.header[0] & 0x0f == OPCODE_CLOSE;
        self.header_bytes = 0;
    }
}

/// A Close frame; what goes to a server has to be masked (RFC 6455, 5.3 and 5.5.1).
pub(crate) fn close_frame(mask: Option<[u8; 4]>) -> Vec<u8> {
    let mut frame = vec![0x80 | OPCODE_CLOSE, 2];
    let mut payload = GOING_AWAY;
    if let Some(mask) = mask {
        frame[1] |= 0x80;
        frame.extend(mask);
        for (byte, mask) in payload.iter_mut().zip(mask) {
            *byte ^= mask;
        }
    }
    frame.extend(payload);
    frame
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn frame(opcode: u8, masked: bool, payload: usize) -> Vec<u8> {
        let mut frame = vec![0x80 | opcode];
        let bit = if masked { 0x80 } else { 0 };
        match payload {
            0..126 => frame.push(bit | u8::try_from(payload).unwrap()),
            126..65_536 => {
                frame.push(bit + 126);
                frame.extend(u16::try_from(payload).unwrap().to_be_bytes());
            }
            _ => {
                frame.push(bit + 127);
                frame.extend((payload as u64).to_be_bytes());
            }
        }
        if masked {
            frame.extend([1, 2, 3, 4]);
        }
        // What looks like a Close frame inside is none.
        frame.extend(std::iter::repeat_n(0x88, payload));
        frame
    }

    #[test]
    fn goodbyes_are_frames_themselves() {
        assert_eq!(close_frame(None), [0x88, 2, 0x03, 0xe9]);
        let masked = close_frame(Some([1, 2, 3, 4]));
        assert_eq!(masked, [0x88, 0x82, 1, 2, 3, 4, 0x02, 0xeb]);
        for goodbye in [close_frame(None), masked] {
            let mut frames = Frames::default();
            frames.pass(&goodbye);
            assert!(frames.at_boundary() && frames.closed());
        }
    }

    #[test]
    fn nonsense_has_no_boundaries() {
        let mut frames = Frames::default();
        frames.pass(&[0x81, 127, 0xff, 0, 0, 0, 0, 0, 0, 0, 1]);
        assert!(!frames.at_boundary());
        frames.pass(&[0; 1000]);
        assert!(!frames.at_boundary() && !frames.closed());
    }

    proptest! {
        #[test]
        fn boundaries_are_found_however_the_bytes_come(
            sizes in prop::collection::vec(prop_oneof![0usize..130, 65_530usize..65_540], 1..6),
            masked: bool,
            step in 1usize..5_000,
        ) {
            let mut bytes = Vec::new();
            let mut ends = vec![0];
            for size in sizes {
                bytes.extend(frame(2, masked, size));
                ends.push(bytes.len());
            }
            let mut frames = Frames::default();
            let mut at = 0;
            for chunk in bytes.chunks(step) {
                prop_assert_eq!(frames.at_boundary(), ends.contains(&at));
                // Never beyond the end of the frame that has begun.
                let next = ends.iter().find(|end| **end > at).unwrap();
                prop_assert!(at + frames.until_end() <= *next);
                frames.pass(chunk);
                at += chunk.len();
            }
            prop_assert!(frames.at_boundary() && !frames.closed());
            frames.pass(&frame(OPCODE_CLOSE, masked, 2));
            prop_assert!(frames.closed());
        }
    }
}
