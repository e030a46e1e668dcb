//! Takes a foreign tar stream apart: ustar with GNU long names or PAX records, as the Docker daemon writes it.
//!
//! Not by the `tar` crate, which splits PAX records at newlines instead of by their length: a name with a newline in it
//! came back as another name. And not every end of a stream is the end of an archive: here only the block of zeros is.

use std::io::{self, Read};

use tar::{EntryType, Header};

const BLOCK: u64 = 512;
/// Longest extension that is read; names are far shorter.
const LONGEST_EXTENSION: u64 = 4 << 20;

/// One member; its content is read from [`Members`].
pub(super) struct Member {
    /// Its header, with the numbers of its PAX records.
    pub(super) header: Header,
    /// Its name, whole.
    pub(super) path: Vec<u8>,
    /// Where it points, when it is a link.
    pub(super) link: Vec<u8>,
    /// Bytes of its content.
    pub(super) size: u64,
}

/// Reads the members of a stream one after the other.
pub(super) struct Members<R> {
    stream: R,
    /// Content of the current member that was not read yet.
    left: u64,
    padding: u64,
}

#[derive(Default)]
struct Extensions {
    path: Option<Vec<u8>>,
    link: Option<Vec<u8>>,
    size: Option<u64>,
    uid: Option<u64>,
    gid: Option<u64>,
}

impl<R: Read> Members<R> {
    /// Starts at the beginning of a stream.
    pub(super) fn new(stream: R) -> Self {
        Self { stream, left: 0, padding: 0 }
    }

    /// Returns the next member, skipping what was not read of the one before; nothing at the end of the archive.
    pub(super) fn next(&mut self) -> io::Result<Option<Member>> {
        let mut extensions = Extensions::default();
        loop {
            self.skip()?;
            let mut block = [0; BLOCK as usize];
            self.stream.read_exact(&mut block)?;
            if block.iter().all(|byte| *byte == 0) {
                io::copy(&mut self.stream, &mut io::sink())?;
                return Ok(None);
            }
            let header = Header::from_byte_slice(&block).clone();
            check_sum(&header)?;
            let kind = header.entry_type();
            let is_extension = kind.is_gnu_longname()
                || kind.is_gnu_longlink()
                || kind.is_pax_local_extensions()
                || kind.is_pax_global_extensions();
            if !is_extension {
                return self.member(header, extensions).map(Some);
            }
            self.begin(header.entry_size()?);
            let body = self.extension()?;
            match kind {
                EntryType::GNULongName => extensions.path = Some(without_nul(body)),
                EntryType::GNULongLink => extensions.link = Some(without_nul(body)),
                EntryType::XHeader => extensions.read_pax(&body)?,
                _ => {}
            }
        }
    }

    fn member(&mut self, mut header: Header, extensions: Extensions) -> io::Result<Member> {
        let kind = header.entry_type();
        let has_content = !(kind.is_dir() || kind.is_symlink() || kind.is_hard_link());
        let size = if has_content { extensions.size.map_or_else(|| header.entry_size(), Ok)? } else { 0 };
        if let Some(uid) = extensions.uid {
            header.set_uid(uid);
        }
        if let Some(gid) = extensions.gid {
            header.set_gid(gid);
        }
        self.begin(size);
        let path = extensions.path.unwrap_or_else(|| header.path_bytes().into_owned());
        let link = extensions.link.or_else(|| header.link_name_bytes().map(|name| name.into_owned()));
        Ok(Member { path, link: link.unwrap_or_default(), size, header })
    }

    fn begin(&mut self, size: u64) {
        self.left = size;
        self.padding = (BLOCK - size % BLOCK) % BLOCK;
    }

    fn skip(&mut self) -> io::Result<()> {
        let rest = self.left + self.padding;
        (self.left, self.padding) = (0, 0);
        if io::copy(&mut (&mut self.stream).take(rest), &mut io::sink())? < rest {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        Ok(())
    }

    fn extension(&mut self) -> io::Result<Vec<u8>> {
        if self.left > LONGEST_EXTENSION {
            return Err(invalid("an extension header is too long"));
        }
        let mut body = Vec::new();
        self.read_to_end(&mut body)?;
        Ok(body)
    }
}

impl<R: Read> Read for Members<R> {
    /// Reads the content of the current member; a stream that ends within it is an error.
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let wanted = into.len().min(usize::try_from(self.left).unwrap_or(usize::MAX));
        if wanted == 0 {
            return Ok(0);
        }
        let read = self.stream.read(&mut into[..wanted])?;
        if read == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        self.left -= read as u64;
        Ok(read)
    }
}

impl Extensions {
    /// Records are `<length> <key>=<value>\n`, where the length counts all of it (POSIX, pax interchange format).
    fn read_pax(&mut self, mut rest: &[u8]) -> io::Result<()> {
        let broken = || invalid("a PAX record is broken");
        while !rest.is_empty() {
            let space = rest.iter().position(|byte| *byte == b' ').ok_or_else(broken)?;
            let length: usize = std::str::from_utf8(&rest[..space])
                .ok()
                .and_then(|text| text.parse().ok())
                .ok_or_else(broken)?;
            let record = rest.get(space + 1..length).and_then(|record| record.strip_suffix(b"\n"));
            let record = record.ok_or_else(broken)?;
            let equals = record.iter().position(|byte| *byte == b'=').ok_or_else(broken)?;
            self.set(&record[..equals], &record[equals + 1..]).ok_or_else(broken)?;
            rest = &rest[length..];
        }
        Ok(())
    }

    fn set(&mut self, key: &[u8], value: &[u8]) -> Option<()> {
        let number = || std::str::from_utf8(value).ok()?.parse().ok();
        match key {
            b"path" => self.path = Some(value.to_vec()),
            b"linkpath" => self.link = Some(value.to_vec()),
            b"size" => self.size = Some(number()?),
            b"uid" => self.uid = Some(number()?),
            b"gid" => self.gid = Some(number()?),
            _ => {}
        }
        Some(())
    }
}

fn check_sum(header: &Header) -> io::Result<()> {
    let mut summed = header.clone();
    summed.set_cksum();
    if summed.cksum()? == header.cksum()? { Ok(()) } else { Err(invalid("a header's checksum is wrong")) }
}

fn without_nul(mut name: Vec<u8>) -> Vec<u8> {
    if name.last() == Some(&0) {
        name.pop();
    }
    name
}

fn invalid(what: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header(kind: EntryType, size: u64) -> Header {
        let mut header = Header::new_ustar();
        header.set_entry_type(kind);
        header.set_path("short").unwrap();
        header.set_size(size);
        header.set_uid(1);
        header.set_cksum();
        header
    }

    fn member(stream: &mut Vec<u8>, header: &Header, content: &[u8]) {
        stream.extend_from_slice(header.as_bytes());
        stream.extend_from_slice(content);
        stream.resize(stream.len().next_multiple_of(512), 0);
    }

    #[test]
    fn pax_records_are_taken_by_length_and_outrank_the_header() {
        let pax = "20 path=new\nline=\u{fc}\n12 uid=4000\n9 size=3\n";
        let mut stream = Vec::new();
        member(&mut stream, &header(EntryType::XHeader, pax.len() as u64), pax.as_bytes());
        member(&mut stream, &header(EntryType::Regular, 0), b"abc");
        stream.resize(stream.len() + 1024, 0);
        let mut members = Members::new(&stream[..]);
        let found = members.next().unwrap().unwrap();
        assert_eq!(found.path, "new\nline=\u{fc}".as_bytes());
        assert_eq!((found.size, found.header.uid().unwrap()), (3, 4000));
        let mut content = String::new();
        members.read_to_string(&mut content).unwrap();
        assert_eq!(content, "abc");
        assert!(members.next().unwrap().is_none());
    }

    #[test]
    fn damaged_streams_are_errors_and_nothing_panics() {
        let mut whole = Vec::new();
        member(&mut whole, &header(EntryType::XHeader, 12), b"12 uid=4000\n");
        member(&mut whole, &header(EntryType::Regular, 3), b"abc");
        for at in 0..whole.len() {
            for value in [0, b'9', 0xff] {
                let mut bad = whole.clone();
                bad[at] = value;
                let mut members = Members::new(&bad[..]);
                while let Ok(Some(_)) = members.next() {}
            }
        }
        assert!(Members::new(&b"x"[..]).next().is_err());
    }
}
