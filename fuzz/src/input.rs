//! Bytes as a target reads them: lines first, then the rest, so that people can read and write a corpus.

/// What is left of an input.
#[derive(Clone, Copy, Debug)]
pub struct Input<'a>(&'a [u8]);

impl<'a> Input<'a> {
    /// All of it.
    pub fn new(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    /// The next line, without its end; the rest if there is no end, and then nothing.
    pub fn line(&mut self) -> &'a [u8] {
        let mut parts = self.0.splitn(2, |byte| *byte == b'\n');
        let line = parts.next().unwrap_or_default();
        self.0 = parts.next().unwrap_or_default();
        line
    }

    /// The next line as text; what is no UTF-8 is replaced.
    pub fn text(&mut self) -> String {
        String::from_utf8_lossy(self.line()).into_owned()
    }

    /// Lines `name: value` up to an empty one; a line without a colon is a name alone.
    pub fn headers(&mut self) -> Vec<(&'a [u8], &'a [u8])> {
        let mut headers = Vec::new();
        while let line @ [_, ..] = self.line() {
            let mut parts = line.splitn(2, |byte| *byte == b':');
            let name = parts.next().unwrap_or_default();
            headers.push((name, parts.next().unwrap_or_default().trim_ascii()));
        }
        headers
    }

    /// All that is left.
    pub fn rest(self) -> &'a [u8] {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_headers_and_the_rest_are_told_apart() {
        let mut input = Input::new(b"first\nname: value: more\nalone\n\nbody\n\n");
        assert_eq!(input.text(), "first");
        assert_eq!(
            input.headers(),
            [(&b"name"[..], &b"value: more"[..]), (b"alone", b"")]
        );
        assert_eq!(input.rest(), b"body\n\n");
        assert_eq!(Input::new(b"").headers(), []);
    }
}
