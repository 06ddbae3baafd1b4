//! A disk in memory that remembers what was synced. When the power fails, what was written since is
//! there or not or in part, as a seed decides: that is all that a real disk promises.

use std::io;
use std::sync::{Arc, Mutex};

use redb::StorageBackend;

/// What is written at once or not at all.
const SECTOR: usize = 512;

/// A handle to a disk: its clones and all stores opened on them share it.
#[derive(Clone, Debug, Default)]
pub struct Disk(Arc<Mutex<State>>);

#[derive(Debug, Default)]
struct State {
    synced: Vec<u8>,
    current: Vec<u8>,
    unsynced: Vec<Op>,
    /// Moments so far: one before each write and each change of length, two around each sync.
    moments: u64,
    fault: Option<Fault>,
    capacity: Option<u64>,
    sync_lies: bool,
    syncs: u64,
}

#[derive(Debug)]
enum Op {
    Write(usize, Vec<u8>),
    SetLen(usize),
}

#[derive(Clone, Copy, Debug)]
pub enum Fault {
    /// At this moment and ever after nothing works.
    PowerCut(u64),
    /// At this moment, once, there is no room.
    Full(u64),
}

impl Disk {
    pub fn with(image: Vec<u8>) -> Self {
        let disk = Self::default();
        disk.lock().synced.clone_from(&image);
        disk.lock().current = image;
        disk
    }

    pub fn fail_at(self, fault: Fault) -> Self {
        self.lock().fault = Some(fault);
        self
    }

    /// A disk that says it synced and didn't.
    pub fn with_lying_sync(self) -> Self {
        self.lock().sync_lies = true;
        self
    }

    pub fn set_capacity(&self, bytes: Option<u64>) {
        self.lock().capacity = bytes;
    }

    pub fn moments(&self) -> u64 {
        self.lock().moments
    }

    pub fn syncs(&self) -> u64 {
        self.lock().syncs
    }

    pub fn len(&self) -> u64 {
        self.lock().current.len() as u64
    }

    pub fn had_fault(&self) -> bool {
        let state = self.lock();
        match state.fault {
            Some(Fault::PowerCut(at) | Fault::Full(at)) => state.moments > at,
            None => false,
        }
    }

    /// What is on the disk after the power failed.
    pub fn after_power_cut(&self, seed: u64) -> Vec<u8> {
        let state = self.lock();
        let mut random = Random(seed);
        let mut image = state.synced.clone();
        for op in &state.unsynced {
            let fate = random.below(4);
            match op {
                Op::SetLen(length) if fate < 2 => image.resize(*length, 0),
                Op::SetLen(_) => {}
                Op::Write(offset, data) => {
                    for (at, sector) in data.chunks(SECTOR).enumerate() {
                        let start = offset + at * SECTOR;
                        let kept = fate == 0 || (fate == 1 && random.below(2) == 0);
                        // The length may be what got lost.
                        if kept && start + sector.len() <= image.len() {
                            image[start..start + sector.len()].copy_from_slice(sector);
                        }
                    }
                }
            }
        }
        image
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        self.0.lock().unwrap()
    }
}

impl State {
    fn pass(&mut self) -> io::Result<()> {
        let now = self.moments;
        self.moments += 1;
        match self.fault {
            Some(Fault::PowerCut(at)) if now >= at => Err(io::Error::other("the power is out")),
            Some(Fault::Full(at)) if now == at => Err(io::ErrorKind::StorageFull.into()),
            _ => Ok(()),
        }
    }
}

impl StorageBackend for Disk {
    fn len(&self) -> io::Result<u64> {
        Ok(self.lock().current.len() as u64)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let offset = offset as usize;
        let state = self.lock();
        let bytes = state.current.get(offset..offset + out.len());
        out.copy_from_slice(bytes.ok_or(io::ErrorKind::UnexpectedEof)?);
        Ok(())
    }

    fn set_len(&self, length: u64) -> io::Result<()> {
        let mut state = self.lock();
        state.pass()?;
        if state.capacity.is_some_and(|capacity| length > capacity) {
            return Err(io::ErrorKind::StorageFull.into());
        }
        state.current.resize(length as usize, 0);
        state.unsynced.push(Op::SetLen(length as usize));
        Ok(())
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        let mut state = self.lock();
        state.pass()?;
        let offset = offset as usize;
        state.current[offset..offset + data.len()].copy_from_slice(data);
        state.unsynced.push(Op::Write(offset, data.to_vec()));
        Ok(())
    }

    fn sync_data(&self) -> io::Result<()> {
        let mut state = self.lock();
        state.pass()?;
        state.syncs += 1;
        if !state.sync_lies {
            for op in std::mem::take(&mut state.unsynced) {
                match op {
                    Op::SetLen(length) => state.synced.resize(length, 0),
                    Op::Write(offset, data) => {
                        state.synced[offset..offset + data.len()].copy_from_slice(&data);
                    }
                }
            }
        }
        // The power may fail when all is safe but nobody has been told.
        state.pass()
    }
}

/// SplitMix64 (Steele, Lea, Flood: "Fast splittable pseudorandom number generators", 2014).
pub struct Random(pub u64);

impl Random {
    pub fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % bound
    }
}
