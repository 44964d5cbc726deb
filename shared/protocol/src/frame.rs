/// Largest frame API Gateway takes from a client; a larger one closes the socket with 1009 (API Gateway quotas).
pub const MAX_INBOUND_BYTES: usize = 32 * 1024;

/// Largest message API Gateway posts to a client (API Gateway quotas).
pub const MAX_OUTBOUND_BYTES: usize = 128 * 1024;

/// Joins lines into as few frames as fit [`MAX_OUTBOUND_BYTES`], in order. A line that is larger on its own gets its own
/// frame: the post fails, and its caller deals with that.
pub fn join_frames<S: AsRef<str>>(lines: impl IntoIterator<Item = S>) -> Vec<String> {
    let mut frames: Vec<String> = Vec::new();
    for line in lines {
        let line = line.as_ref();
        match frames.last_mut() {
            Some(frame) if frame.len() + 1 + line.len() <= MAX_OUTBOUND_BYTES => {
                frame.push('\n');
                frame.push_str(line);
            }
            _ => frames.push(line.to_owned()),
        }
    }
    frames
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_joined_in_order_up_to_the_limit() {
        let line = "x".repeat(50 * 1024);
        let frames = join_frames([line.as_str(), &line, "end", &line]);
        assert_eq!(frames.len(), 2);
        assert_eq!(frames[0], format!("{line}\n{line}\nend"));
        assert!(frames.iter().all(|frame| frame.len() <= MAX_OUTBOUND_BYTES));
        assert!(join_frames(Vec::<&str>::new()).is_empty());
    }
}
