//! FETCH: in batches, so that a mailbox of any size costs a buffer.

use std::collections::HashMap;
use std::io;
use std::ops::{Range, RangeInclusive};
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use daemon::{Fetcher, Memory, Share};
use digest::{Digest, DigestRef, Utf8};
use imap::encode::{self, number};
use imap::server::{Done, Enabled, Piece, Then};
use imap::{Fetch, FetchItem, Section, SectionForm, SectionText, print_ranges};
use mime::{Inner, Limits, Part};
use net::ReadBody;
use store::{Body, FlagNames, FlagOperation, Flags, Message, Row, Store};

use crate::text;
use crate::view::{View, flags_item, store_ranges};

/// Octets of responses gathered before they are sent.
const BATCH: usize = 48 << 10;
/// Messages asked of the store at once.
const ROWS: usize = 500;
/// Octets of messages that are read whole at once; sections of larger ones stream, where they can.
const WHOLE: usize = 256 << 10;
/// Sections of at least so many octets are sent from where they lie, without a copy.
const SHARED: usize = 16 << 10;
/// Octets that may be made anew for one message (its header's fields, its parts decoded), beside twice its own: sections
/// asked for again and again end there.
const MADE_ANEW: u64 = 4 << 20;
/// Messages that the completion names as downgraded, at most.
const MAX_DOWNGRADED: usize = 1_000;
/// The most octets of a message that is taken apart in memory.
const MOST: usize = 1 << 30;

/// Octets of a message on their way out. NUL, which a literal must not hold, leaves as 0x80 (rule 18).
#[derive(Debug)]
pub struct Octets {
    source: Source,
    without_nul: bool,
}

#[derive(Debug)]
enum Source {
    /// Read as they are sent.
    Stored(Body),
    /// Part of what was taken apart in memory, which counts until they are sent.
    Memory { octets: Bytes, _share: Option<Arc<Share>> },
}

impl ReadBody for Octets {
    async fn read(&mut self, most: usize) -> io::Result<Option<Bytes>> {
        let piece = match &mut self.source {
            Source::Stored(body) => body.next(most).await.map_err(io::Error::other)?,
            Source::Memory { octets, .. } => octets.read(most).await?,
        };
        Ok(piece.map(|piece| if self.without_nul { without_nul(piece) } else { piece }))
    }
}

fn without_nul(octets: Bytes) -> Bytes {
    if !octets.contains(&0) {
        return octets;
    }
    octets.iter().map(|octet| if *octet == 0 { 0x80 } else { *octet }).collect::<Vec<u8>>().into()
}

/// A FETCH that is under way.
#[derive(Debug)]
pub(crate) struct Running {
    items: Vec<FetchItem>,
    /// The messages left, ascending.
    left: Vec<RangeInclusive<u32>>,
    enabled: Enabled,
    changed_since: Option<u64>,
    needs_row: bool,
    needs_digest: bool,
    needs_octets: bool,
    sets_seen: bool,
    /// It reads messages, not their headers alone; what the trace calls fetched.
    reads: bool,
    /// A part was asked for whose encoding nobody knows (RFC 3516 §4.3).
    unknown_cte: bool,
    /// The messages of which surrogates were told (RFC 6858 §3), the first of them.
    downgraded: Vec<u32>,
}

impl Running {
    /// Begins; `None`: a sequence number is beyond the last message.
    pub(crate) fn new(view: &View, fetch: Fetch, enabled: Enabled) -> Option<Self> {
        let left = view.uids(&fetch.set, fetch.uid)?;
        let mut items = fetch.items;
        // RFC 9051 §6.4.9: UID FETCH always tells the UID; RFC 7162 §3.1.4: CHANGEDSINCE always the mod-sequence.
        if fetch.uid && !items.contains(&FetchItem::Uid) {
            items.insert(0, FetchItem::Uid);
        }
        if fetch.changed_since.is_some() && !items.contains(&FetchItem::ModSeq) {
            items.push(FetchItem::ModSeq);
        }
        let snapshot_has = |item: &FetchItem| matches!(item, FetchItem::Uid | FetchItem::Flags | FetchItem::ModSeq);
        let digest_has = |item: &FetchItem| match item {
            FetchItem::Envelope | FetchItem::Body | FetchItem::BodyStructure | FetchItem::Preview => true,
            // Where the header ends; the whole needs nobody to find its parts.
            FetchItem::Section { section, .. } => section.part.is_empty() && section.text != SectionText::Full,
            _ => false,
        };
        let octets_have = |item: &FetchItem| matches!(item, FetchItem::Section { .. } | FetchItem::BinarySize(_));
        let sets = |item: &FetchItem| matches!(item, FetchItem::Section { peek: false, .. });
        // PEEK or not: many clients always do.
        let reads = |item: &FetchItem| match item {
            FetchItem::Section { section, form, .. } => {
                matches!(section.text, SectionText::Full | SectionText::Text) && *form != SectionForm::Rfc822Header
            }
            _ => false,
        };
        Some(Self {
            reads: items.iter().any(reads),
            needs_row: !items.iter().all(snapshot_has),
            needs_digest: items.iter().any(digest_has),
            needs_octets: items.iter().any(octets_have),
            sets_seen: !view.read_only && items.iter().any(sets),
            left,
            downgraded: Vec::new(),
            unknown_cte: false,
            enabled,
            changed_since: fetch.changed_since,
            items,
        })
    }

    /// The next responses.
    pub(crate) async fn next(
        &mut self,
        view: &mut View,
        store: &dyn Store,
        memory: &Memory,
        fetcher: Option<&Fetcher>,
    ) -> store::Result<(Vec<Piece<Octets>>, Then)> {
        let fetcher = fetcher.filter(|_| self.reads);
        let mut out = Out::default();
        while out.octets < BATCH {
            let batch = self.batch(view);
            if batch.is_empty() {
                out.flush();
                let done = Done::ok("fetched");
                let done = if self.unknown_cte {
                    Done::no("a part is encoded in a way that is not known").code("UNKNOWN-CTE")
                } else if self.downgraded.is_empty() {
                    done
                } else {
                    let uids = print_ranges(&store_ranges(self.downgraded.iter().copied()));
                    done.code(format!("DOWNGRADED {uids}"))
                };
                return Ok((out.pieces, Then::Done(done)));
            }
            if self.sets_seen {
                self.set_seen(view, store, &batch).await?;
            }
            if !self.needs_row {
                for (sequence, row) in &batch {
                    self.begin(&mut out.buffer, *sequence);
                    self.snapshot_items(&mut out.buffer, row, view);
                    out.end();
                }
                continue;
            }
            let uids = store_ranges(batch.iter().map(|(_, row)| row.uid));
            let messages = if self.needs_octets {
                store.whole_messages(view.mailbox, uids, self.needs_digest, ROWS, WHOLE).await?
            } else {
                let messages = store.messages(view.mailbox, uids, self.needs_digest, ROWS).await?;
                messages.into_iter().map(|message| (message, None)).collect()
            };
            self.put_back(&batch, messages.last().map(|(message, _)| message.uid));
            let mut rows = batch.iter();
            for (message, whole) in messages {
                let Some((sequence, row)) = rows.find(|(_, row)| row.uid == message.uid) else { continue };
                self.message(&mut out, *sequence, row, (&message, whole), view, (store, memory)).await?;
                if let Some(fetcher) = fetcher {
                    fetcher.fetched(&message);
                }
            }
        }
        out.flush();
        Ok((out.pieces, Then::More))
    }

    /// What was taken off but not answered, since the octets became too many, is left for the next turn. None of a batch
    /// is there any more where nothing was answered.
    fn put_back(&mut self, batch: &[(u64, Row)], answered: Option<u32>) {
        let (Some(answered), Some((_, last))) = (answered, batch.last()) else { return };
        if self.needs_octets && answered < last.uid {
            self.left.insert(0, answered + 1..=last.uid);
        }
    }

    /// The next messages that exist in the view, with their sequence numbers, and takes them off what is left.
    fn batch(&mut self, view: &View) -> Vec<(u64, Row)> {
        let most = match (self.needs_row, self.needs_octets) {
            (false, _) => 2_000,
            (true, false) => ROWS,
            (true, true) => 50,
        };
        let mut batch = Vec::new();
        while batch.len() < most {
            let Some(range) = self.left.first().cloned() else { break };
            let from = view.snapshot.find(*range.start()).unwrap_or_else(|at| at);
            let mut last = None;
            let rows = view.snapshot.iter_from(from).take_while(|row| row.uid <= *range.end());
            for (offset, row) in rows.take(most - batch.len()).enumerate() {
                last = Some(row.uid);
                if self.changed_since.is_none_or(|since| row.mod_seq > since) {
                    batch.push(((from + offset) as u64 + 1, *row));
                }
            }
            match last {
                Some(last) if last < *range.end() => self.left[0] = last + 1..=*range.end(),
                _ => {
                    self.left.remove(0);
                }
            }
        }
        batch
    }

    async fn set_seen(&self, view: &mut View, store: &dyn Store, batch: &[(u64, Row)]) -> store::Result<()> {
        let unseen = batch.iter().filter(|(_, row)| !row.flags.contains(Flags::SEEN)).map(|(_, row)| row.uid);
        let uids = store_ranges(unseen);
        if !uids.is_empty() {
            let seen = FlagNames { system: Flags::SEEN, keywords: Vec::new() };
            let outcome = store.set_flags(view.mailbox, uids, FlagOperation::Add, seen, None).await?;
            if !self.enabled.condstore && !self.items.contains(&FetchItem::Flags) {
                // The response itself tells.
                view.own.extend(outcome.rows.iter().map(|row| (row.uid, row.mod_seq)));
            }
        }
        Ok(())
    }

    fn begin(&self, out: &mut BytesMut, sequence: u64) {
        number(out, sequence, "* ", " FETCH (");
    }

    /// The items that the snapshot has.
    fn snapshot_items(&self, out: &mut BytesMut, row: &Row, view: &View) {
        for (at, item) in self.items.iter().enumerate() {
            if at > 0 {
                out.extend_from_slice(b" ");
            }
            self.row_item(out, item, row, view);
        }
        out.extend_from_slice(b")\r\n");
    }

    fn row_item(&self, out: &mut BytesMut, item: &FetchItem, row: &Row, view: &View) -> bool {
        match item {
            FetchItem::Uid => number(out, u64::from(row.uid), "UID ", ""),
            FetchItem::Flags => {
                let plain = self.items.contains(&FetchItem::ModSeq);
                let enabled = Enabled { condstore: self.enabled.condstore && !plain, ..self.enabled };
                flags_item(out, row, &view.snapshot.keywords, enabled);
            }
            FetchItem::ModSeq => number(out, row.mod_seq, "MODSEQ (", ")"),
            _ => return false,
        }
        true
    }

    async fn message(
        &mut self,
        out: &mut Out,
        sequence: u64,
        row: &Row,
        (message, whole): (&Message, Option<Bytes>),
        view: &View,
        (store, memory): (&dyn Store, &Memory),
    ) -> store::Result<()> {
        let mut content = Content {
            message,
            store,
            memory,
            share: None,
            tree: None,
            decoded: HashMap::new(),
            made: 0,
            plain: !self.enabled.utf8,
            whole,
            digest: None,
            downgraded: false,
            unknown_cte: false,
        };
        self.begin(&mut out.buffer, sequence);
        let mut space = "";
        for item in &self.items {
            out.buffer.extend_from_slice(space.as_bytes());
            space = " ";
            if self.row_item(&mut out.buffer, item, row, view) {
                continue;
            }
            match item {
                FetchItem::InternalDate => {
                    out.buffer.extend_from_slice(b"INTERNALDATE ");
                    encode::date_time(&mut out.buffer, message.received.unix, message.received.offset_minutes);
                }
                FetchItem::SaveDate => {
                    out.buffer.extend_from_slice(b"SAVEDATE ");
                    encode::date_time(&mut out.buffer, message.saved, 0);
                }
                FetchItem::Rfc822Size => number(&mut out.buffer, message.octets, "RFC822.SIZE ", ""),
                FetchItem::EmailId => {
                    encode::print(&mut out.buffer, format_args!("EMAILID (M{:x})", message.content.id.0));
                }
                FetchItem::ThreadId if message.thread == 0 => out.buffer.extend_from_slice(b"THREADID NIL"),
                FetchItem::ThreadId => encode::print(&mut out.buffer, format_args!("THREADID (T{:x})", message.thread)),
                FetchItem::Envelope | FetchItem::Body | FetchItem::BodyStructure | FetchItem::Preview => {
                    content.digest_item(&mut out.buffer, item).await?;
                }
                FetchItem::BinarySize(part) => {
                    let octets = content.decoded(part).await?.map_or(0, |octets| octets.len() as u64);
                    let section = Section { part: part.clone(), text: SectionText::Full };
                    encode::print(&mut out.buffer, format_args!("BINARY.SIZE[{section}] {octets}"));
                }
                FetchItem::Section { form, section, partial, .. } => {
                    section_item(out, &mut content, *form, section, *partial).await?;
                }
                FetchItem::Uid | FetchItem::Flags | FetchItem::ModSeq => {}
            }
        }
        if self.sets_seen && !row.flags.contains(Flags::SEEN) && !self.items.contains(&FetchItem::Flags) {
            out.buffer.extend_from_slice(b" FLAGS ");
            encode::flags(&mut out.buffer, text::flag_names(row.flags | Flags::SEEN, &view.snapshot.keywords));
        }
        out.buffer.extend_from_slice(b")\r\n");
        out.end();
        self.unknown_cte |= content.unknown_cte;
        if content.downgraded && self.downgraded.len() < MAX_DOWNGRADED {
            self.downgraded.push(message.uid);
        }
        Ok(())
    }
}

/// Responses as they are gathered.
#[derive(Default)]
struct Out {
    buffer: BytesMut,
    pieces: Vec<Piece<Octets>>,
    octets: usize,
}

impl Out {
    /// A message's response is complete.
    fn end(&mut self) {
        self.octets = self.octets.max(self.buffer.len());
    }

    fn flush(&mut self) {
        if !self.buffer.is_empty() {
            self.pieces.push(Piece::Octets(self.buffer.split().freeze()));
        }
    }

    fn body(&mut self, body: Octets) {
        self.flush();
        self.pieces.push(Piece::Body(body));
        self.octets += BATCH;
    }
}

/// A message's octets, read when they are needed.
struct Content<'a> {
    message: &'a Message,
    store: &'a dyn Store,
    memory: &'a Memory,
    /// What a large message takes of the memory of all, for as long as it is there.
    share: Option<Arc<Share>>,
    tree: Option<Arc<Part>>,
    /// Parts behind their transfer encoding.
    decoded: HashMap<Vec<u32>, Option<Bytes>>,
    /// Octets made anew.
    made: u64,
    /// Headers are for a client that knows nothing beyond ASCII (rule 24).
    plain: bool,
    whole: Option<Bytes>,
    digest: Option<Bytes>,
    /// Something was told as a surrogate (RFC 6858 §3).
    downgraded: bool,
    unknown_cte: bool,
}

impl Content<'_> {
    async fn whole(&mut self) -> store::Result<Bytes> {
        if let Some(whole) = &self.whole {
            return Ok(whole.clone());
        }
        // Itself, and what is made of it.
        let share = self.memory.take(self.message.octets.saturating_mul(2)).await.ok_or(store::Error::Busy)?;
        let whole = self.store.body(self.message).await?.whole(MOST).await?;
        (self.share, self.whole) = (Some(Arc::new(share)), Some(whole.clone()));
        Ok(whole)
    }

    /// Its parts; taken apart once, however many sections are asked for.
    fn tree(&mut self, whole: &[u8]) -> Arc<Part> {
        Arc::clone(self.tree.get_or_insert_with(|| Arc::new(Part::parse(whole, &Limits::default()))))
    }

    /// Counts octets that were made anew.
    fn makes(&mut self, octets: usize) -> store::Result<()> {
        self.made += octets as u64;
        if self.made > self.message.octets.saturating_mul(2) + MADE_ANEW {
            return Err(store::Error::Limit("octets of one message's sections"));
        }
        Ok(())
    }

    /// A part of the whole.
    async fn range(&self, range: Range<u64>) -> store::Result<Bytes> {
        match &self.whole {
            Some(whole) => {
                let end = usize::try_from(range.end).unwrap_or(usize::MAX).min(whole.len());
                let start = usize::try_from(range.start).unwrap_or(usize::MAX).min(end);
                Ok(whole.slice(start..end))
            }
            None => self.store.body(self.message).await?.slice(range).whole(MOST).await,
        }
    }

    /// The digest; made anew where the one kept is of another version.
    async fn digest(&mut self) -> store::Result<Bytes> {
        if let Some(digest) = &self.digest {
            return Ok(digest.clone());
        }
        let kept = self.message.digest.clone();
        let digest = if DigestRef::parse(&kept).is_ok() {
            kept
        } else {
            let shared = self.whole().await?.slice(self.message.prefix.len()..);
            Bytes::from(Digest::of(&shared).encode())
        };
        self.digest = Some(digest.clone());
        Ok(digest)
    }

    /// What the digest knows.
    async fn digest_item(&mut self, out: &mut BytesMut, item: &FetchItem) -> store::Result<()> {
        let digest = self.digest().await?;
        let digest = DigestRef::parse(&digest).map_err(|error| store::Error::Corrupt(error.to_string()))?;
        if *item == FetchItem::Preview {
            out.extend_from_slice(b"PREVIEW ");
            encode::string(out, digest.preview(), !self.plain);
            return Ok(());
        }
        let utf8 = if digest.is_surrogate() && !self.plain {
            let shared = self.whole().await?.slice(self.message.prefix.len()..);
            Some(Utf8::of(&shared))
        } else {
            self.downgraded |= digest.is_surrogate();
            None
        };
        let (name, octets) = match (item, &utf8) {
            (FetchItem::Envelope, None) => ("ENVELOPE ", digest.envelope()),
            (FetchItem::Envelope, Some(utf8)) => ("ENVELOPE ", &utf8.envelope[..]),
            (FetchItem::Body, None) => ("BODY ", digest.body()),
            (FetchItem::Body, Some(utf8)) => ("BODY ", &utf8.body[..]),
            (_, None) => ("BODYSTRUCTURE ", digest.body_structure()),
            (_, Some(utf8)) => ("BODYSTRUCTURE ", &utf8.body_structure[..]),
        };
        out.extend_from_slice(name.as_bytes());
        out.extend_from_slice(octets);
        Ok(())
    }

    /// Octets of the whole header, the recipient's own fields included.
    async fn header_octets(&mut self) -> store::Result<u64> {
        let digest = self.digest().await?;
        let shared = DigestRef::parse(&digest).map_or(0, |digest| digest.header_octets());
        Ok(self.message.prefix.len() as u64 + shared)
    }

    /// The octets of a part behind its transfer encoding; `None`: they cannot be decoded.
    async fn decoded(&mut self, part: &[u32]) -> store::Result<Option<Bytes>> {
        if let Some(known) = self.decoded.get(part) {
            return Ok(known.clone());
        }
        let whole = self.whole().await?;
        if part.is_empty() {
            return Ok(Some(whole));
        }
        let root = self.tree(&whole);
        let Some(found) = root.find(part) else { return Ok(None) };
        let decoded = mime::decoded(found, &whole).map(Bytes::from);
        self.unknown_cte |= decoded.is_none();
        self.makes(decoded.as_ref().map_or(0, Bytes::len))?;
        self.decoded.insert(part.to_vec(), decoded.clone());
        Ok(decoded)
    }

    /// A section of the message (RFC 9051 §6.4.5.1); `None`: there is no such part.
    async fn section(&mut self, section: &Section) -> store::Result<Option<Bytes>> {
        let octets = self.section_as_stored(section).await?;
        let is_header = !matches!(section.text, SectionText::Full | SectionText::Text);
        // RFC 6858 §3; whole bodies stay as they are, since whoever fetches those keeps them.
        let surrogate = self.plain && is_header && octets.as_ref().is_some_and(|octets| !octets.is_ascii());
        self.downgraded |= surrogate;
        if is_header {
            self.makes(octets.as_ref().map_or(0, Bytes::len))?;
        }
        Ok(octets.map(|octets| if surrogate { mime::surrogate_header(&octets).into() } else { octets }))
    }

    async fn section_as_stored(&mut self, section: &Section) -> store::Result<Option<Bytes>> {
        if section.part.is_empty() {
            if section.text == SectionText::Full {
                return Ok(Some(self.whole().await?));
            }
            let header = self.header_octets().await?;
            if section.text == SectionText::Text {
                return Ok(Some(self.range(header..u64::MAX).await?));
            }
            let header = self.range(0..header).await?;
            return Ok(Some(match &section.text {
                SectionText::HeaderFields(names) => mime::select_fields(&header, names, true).into(),
                SectionText::HeaderFieldsNot(names) => mime::select_fields(&header, names, false).into(),
                _ => header,
            }));
        }
        let whole = self.whole().await?;
        let root = self.tree(&whole);
        let Some(part) = root.find(&section.part) else { return Ok(None) };
        let inner = match &part.inner {
            Inner::Message(message) => Some(message),
            _ => None,
        };
        Ok(match (&section.text, inner) {
            (SectionText::Full, _) => Some(whole.slice(part.body.clone())),
            (SectionText::Mime, _) => Some(whole.slice(part.header.clone())),
            (SectionText::Header, Some(message)) => Some(whole.slice(message.header.clone())),
            (SectionText::Text, Some(message)) => Some(whole.slice(message.body.clone())),
            (SectionText::HeaderFields(names), Some(message)) => {
                Some(mime::select_fields(&whole[message.header.clone()], names, true).into())
            }
            (SectionText::HeaderFieldsNot(names), Some(message)) => {
                Some(mime::select_fields(&whole[message.header.clone()], names, false).into())
            }
            _ => None,
        })
    }
}

async fn section_item(
    out: &mut Out,
    content: &mut Content<'_>,
    form: SectionForm,
    section: &Section,
    partial: Option<(u32, u32)>,
) -> store::Result<()> {
    let origin = partial.map(|(from, _)| format!("<{from}>")).unwrap_or_default();
    match form {
        SectionForm::Body => encode::print(&mut out.buffer, format_args!("BODY[{section}]{origin} ")),
        SectionForm::Binary => encode::print(&mut out.buffer, format_args!("BINARY[{section}]{origin} ")),
        SectionForm::Rfc822 => out.buffer.extend_from_slice(b"RFC822 "),
        SectionForm::Rfc822Header => out.buffer.extend_from_slice(b"RFC822.HEADER "),
        SectionForm::Rfc822Text => out.buffer.extend_from_slice(b"RFC822.TEXT "),
    }
    let binary = form == SectionForm::Binary;
    let range = partial.map_or(0..u64::MAX, |(from, octets)| u64::from(from)..u64::from(from) + u64::from(octets));
    // The whole message, or its text, need not be in memory.
    let large = content.whole.is_none() && content.message.octets > WHOLE as u64 && section.part.is_empty() && !binary;
    if large && matches!(section.text, SectionText::Full | SectionText::Text) {
        let start = if section.text == SectionText::Text { content.header_octets().await? } else { 0 };
        let body = content.store.body(content.message).await?;
        let body = body.slice(start.saturating_add(range.start)..start.saturating_add(range.end));
        number(&mut out.buffer, body.octets(), "{", "}\r\n");
        out.body(Octets { source: Source::Stored(body), without_nul: true });
        return Ok(());
    }
    let octets = if binary { content.decoded(&section.part).await? } else { content.section(section).await? };
    let Some(octets) = octets else {
        out.buffer.extend_from_slice(b"NIL");
        return Ok(());
    };
    let end = usize::try_from(range.end).unwrap_or(usize::MAX).min(octets.len());
    let start = usize::try_from(range.start).unwrap_or(usize::MAX).min(end);
    let octets = octets.slice(start..end);
    // RFC 3516 §4.2: NUL takes a literal8.
    if binary && octets.contains(&0) {
        out.buffer.extend_from_slice(b"~");
    }
    number(&mut out.buffer, octets.len() as u64, "{", "}\r\n");
    if octets.len() >= SHARED {
        out.body(Octets { source: Source::Memory { octets, _share: content.share.clone() }, without_nul: !binary });
    } else {
        let octets = if binary { octets } else { without_nul(octets) };
        out.buffer.extend_from_slice(&octets);
    }
    Ok(())
}
