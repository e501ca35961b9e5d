//! The disk as SQLite's virtual file system: version 1 of the interface, without shared memory, so that a connection
//! must have the database to itself (`locking_mode = EXCLUSIVE`).

use std::ffi::{CStr, CString, c_char, c_int, c_void};
use std::io;
use std::ptr;
use std::sync::atomic::{AtomicU64, Ordering};

use rusqlite::ffi::{
    SQLITE_CANTOPEN, SQLITE_FULL, SQLITE_IOERR_FSTAT, SQLITE_IOERR_FSYNC, SQLITE_IOERR_READ, SQLITE_IOERR_SHORT_READ,
    SQLITE_IOERR_TRUNCATE, SQLITE_IOERR_WRITE, SQLITE_NOTFOUND, SQLITE_OK, sqlite3_file, sqlite3_int64,
    sqlite3_io_methods, sqlite3_vfs, sqlite3_vfs_register,
};

use crate::SimDisk;

/// Disks that are SQLite's.
static NUMBER: AtomicU64 = AtomicU64::new(0);

/// An open file, laid out so that it begins as SQLite expects.
#[repr(C)]
struct OpenFile {
    base: sqlite3_file,
    /// Owned; freed when the file is closed.
    file: *mut Named,
}

struct Named {
    disk: SimDisk,
    path: String,
}

static METHODS: sqlite3_io_methods = sqlite3_io_methods {
    iVersion: 1,
    xClose: Some(close),
    xRead: Some(read),
    xWrite: Some(write),
    xTruncate: Some(truncate),
    xSync: Some(sync),
    xFileSize: Some(size),
    xLock: Some(lock),
    xUnlock: Some(lock),
    xCheckReservedLock: Some(reserved),
    xFileControl: Some(control),
    xSectorSize: Some(sector),
    xDeviceCharacteristics: Some(characteristics),
    xShmMap: None,
    xShmLock: None,
    xShmBarrier: None,
    xShmUnmap: None,
    xFetch: None,
    xUnfetch: None,
};

impl SimDisk {
    /// Makes the disk SQLite's, for as long as the process lives, under a name of its own; the name.
    ///
    /// # Panics
    /// SQLite refuses it.
    #[must_use]
    pub fn register(&self) -> String {
        let vfs_name = format!("simulated-{}", NUMBER.fetch_add(1, Ordering::Relaxed));
        let name = CString::new(vfs_name.as_str()).expect("a name without NUL");
        let vfs = Box::new(sqlite3_vfs {
            iVersion: 1,
            szOsFile: c_int::try_from(size_of::<OpenFile>()).expect("a small number"),
            mxPathname: 512,
            pNext: ptr::null_mut(),
            zName: name.into_raw(),
            pAppData: Box::into_raw(Box::new(self.clone())).cast(),
            xOpen: Some(open),
            xDelete: Some(delete),
            xAccess: Some(access),
            xFullPathname: Some(full_pathname),
            xDlOpen: None,
            xDlError: None,
            xDlSym: None,
            xDlClose: None,
            xRandomness: Some(randomness),
            xSleep: Some(sleep),
            xCurrentTime: Some(current_time),
            xGetLastError: None,
            xCurrentTimeInt64: None,
            xSetSystemCall: None,
            xGetSystemCall: None,
            xNextSystemCall: None,
        });
        // SAFETY: the structure lives for ever, as SQLite asks of a registered VFS, and its functions are ours.
        let result = unsafe { sqlite3_vfs_register(Box::into_raw(vfs), 0) };
        assert_eq!(result, SQLITE_OK, "the VFS is registered");
        vfs_name
    }
}

/// The disk behind a VFS.
///
/// # Safety
/// `vfs` is one that [`SimDisk::register`] made.
unsafe fn disk<'a>(vfs: *mut sqlite3_vfs) -> &'a SimDisk {
    // SAFETY: `pAppData` was set there to a disk that lives for ever.
    unsafe { &*(*vfs).pAppData.cast::<SimDisk>() }
}

/// The file behind a handle.
///
/// # Safety
/// `file` was opened by [`open`] and not closed yet.
unsafe fn named<'a>(file: *mut sqlite3_file) -> &'a Named {
    // SAFETY: `open` wrote an `OpenFile` there with a valid pointer.
    unsafe { &*(*file.cast::<OpenFile>()).file }
}

/// A path as SQLite gives it.
///
/// # Safety
/// `path` is a string of C.
unsafe fn text(path: *const c_char) -> String {
    // SAFETY: as the caller promises.
    unsafe { CStr::from_ptr(path) }.to_string_lossy().into_owned()
}

fn code(result: io::Result<()>, failure: c_int) -> c_int {
    if result.is_ok() { SQLITE_OK } else { failure }
}

unsafe extern "C" fn open(
    vfs: *mut sqlite3_vfs,
    path: *const c_char,
    file: *mut sqlite3_file,
    flags: c_int,
    out: *mut c_int,
) -> c_int {
    // SAFETY: SQLite gives a VFS of ours, a string or null, and room for `szOsFile` octets.
    unsafe {
        (*file).pMethods = ptr::null();
        let disk = disk(vfs);
        let path = if path.is_null() { format!("/temporary/{}", disk.random()) } else { text(path) };
        if !disk.exists(&path) && disk.create(&path).is_err() {
            return SQLITE_CANTOPEN;
        }
        if !out.is_null() {
            *out = flags;
        }
        (*file.cast::<OpenFile>()).file = Box::into_raw(Box::new(Named { disk: disk.clone(), path }));
        (*file).pMethods = &raw const METHODS;
    }
    SQLITE_OK
}

unsafe extern "C" fn close(file: *mut sqlite3_file) -> c_int {
    // SAFETY: opened by `open`, closed once.
    drop(unsafe { Box::from_raw((*file.cast::<OpenFile>()).file) });
    SQLITE_OK
}

unsafe extern "C" fn read(file: *mut sqlite3_file, out: *mut c_void, octets: c_int, offset: sqlite3_int64) -> c_int {
    let (Ok(octets), Ok(offset)) = (usize::try_from(octets), u64::try_from(offset)) else { return SQLITE_IOERR_READ };
    // SAFETY: SQLite gives room for so many octets.
    let (named, buffer) = unsafe { (named(file), std::slice::from_raw_parts_mut(out.cast::<u8>(), octets)) };
    match named.disk.read(&named.path, buffer, offset) {
        Ok(read) if read == buffer.len() => SQLITE_OK,
        Ok(read) => {
            buffer[read..].fill(0);
            SQLITE_IOERR_SHORT_READ
        }
        Err(_) => SQLITE_IOERR_READ,
    }
}

unsafe extern "C" fn write(
    file: *mut sqlite3_file,
    octets: *const c_void,
    count: c_int,
    offset: sqlite3_int64,
) -> c_int {
    let (Ok(count), Ok(offset)) = (usize::try_from(count), u64::try_from(offset)) else { return SQLITE_IOERR_WRITE };
    // SAFETY: SQLite gives so many octets.
    let (named, octets) = unsafe { (named(file), std::slice::from_raw_parts(octets.cast::<u8>(), count)) };
    match named.disk.write(&named.path, octets, offset) {
        Err(error) if error.kind() == std::io::ErrorKind::StorageFull => SQLITE_FULL,
        done => code(done, SQLITE_IOERR_WRITE),
    }
}

unsafe extern "C" fn truncate(file: *mut sqlite3_file, octets: sqlite3_int64) -> c_int {
    // SAFETY: a file of ours.
    let named = unsafe { named(file) };
    code(named.disk.truncate(&named.path, u64::try_from(octets).unwrap_or(0)), SQLITE_IOERR_TRUNCATE)
}

unsafe extern "C" fn sync(file: *mut sqlite3_file, _: c_int) -> c_int {
    // SAFETY: a file of ours.
    let named = unsafe { named(file) };
    code(named.disk.sync(&named.path), SQLITE_IOERR_FSYNC)
}

unsafe extern "C" fn size(file: *mut sqlite3_file, out: *mut sqlite3_int64) -> c_int {
    // SAFETY: a file of ours, and room for a number.
    unsafe {
        let named = named(file);
        match named.disk.octets(&named.path) {
            Ok(octets) => {
                *out = i64::try_from(octets).unwrap_or(i64::MAX);
                SQLITE_OK
            }
            Err(_) => SQLITE_IOERR_FSTAT,
        }
    }
}

unsafe extern "C" fn lock(_: *mut sqlite3_file, _: c_int) -> c_int {
    SQLITE_OK
}

unsafe extern "C" fn reserved(_: *mut sqlite3_file, out: *mut c_int) -> c_int {
    // SAFETY: room for a number.
    unsafe { *out = 0 };
    SQLITE_OK
}

unsafe extern "C" fn control(_: *mut sqlite3_file, _: c_int, _: *mut c_void) -> c_int {
    SQLITE_NOTFOUND
}

unsafe extern "C" fn sector(_: *mut sqlite3_file) -> c_int {
    4096
}

unsafe extern "C" fn characteristics(_: *mut sqlite3_file) -> c_int {
    0
}

unsafe extern "C" fn delete(vfs: *mut sqlite3_vfs, path: *const c_char, _: c_int) -> c_int {
    // SAFETY: a VFS of ours and a string.
    let (disk, path) = unsafe { (disk(vfs), text(path)) };
    // Removing what is not there is no failure to SQLite.
    if disk.exists(&path) { code(disk.remove(&path), SQLITE_IOERR_WRITE) } else { SQLITE_OK }
}

unsafe extern "C" fn access(vfs: *mut sqlite3_vfs, path: *const c_char, _: c_int, out: *mut c_int) -> c_int {
    // SAFETY: a VFS of ours, a string, and room for a number.
    unsafe { *out = c_int::from(disk(vfs).exists(&text(path))) };
    SQLITE_OK
}

unsafe extern "C" fn full_pathname(_: *mut sqlite3_vfs, path: *const c_char, room: c_int, out: *mut c_char) -> c_int {
    // SAFETY: a string, and so much room.
    unsafe {
        let octets = CStr::from_ptr(path).to_bytes_with_nul();
        if octets.len() > usize::try_from(room).unwrap_or(0) {
            return SQLITE_CANTOPEN;
        }
        ptr::copy_nonoverlapping(octets.as_ptr().cast(), out, octets.len());
    }
    SQLITE_OK
}

unsafe extern "C" fn randomness(vfs: *mut sqlite3_vfs, count: c_int, out: *mut c_char) -> c_int {
    // SAFETY: a VFS of ours, and room for so many octets.
    unsafe {
        let buffer = std::slice::from_raw_parts_mut(out.cast::<u8>(), usize::try_from(count).unwrap_or(0));
        let disk = disk(vfs);
        buffer.fill_with(|| disk.random().to_le_bytes()[3]);
    }
    count
}

unsafe extern "C" fn sleep(_: *mut sqlite3_vfs, microseconds: c_int) -> c_int {
    microseconds
}

unsafe extern "C" fn current_time(_: *mut sqlite3_vfs, out: *mut f64) -> c_int {
    // SAFETY: room for a number.
    unsafe { *out = 2_460_000.5 };
    SQLITE_OK
}
