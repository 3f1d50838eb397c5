//! Devices, what ranges of units take, and how far a device gets.

/// Where stages can run.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Device {
    /// Bytes that a stage may take.
    pub room: u64,
    /// Bytes that are read in a second; positive.
    pub bandwidth: f64,
    /// Seconds from its stage to the next one.
    pub hop: f64,
    /// Whether it must hold something.
    pub required: bool,
}

/// What the ranges of a row of units take.
#[derive(Debug, Clone)]
pub(crate) struct Table {
    units: usize,
    /// Bytes of memory of units `from..to` at `from * (units + 1) + to`.
    needs: Vec<u64>,
    /// Bytes that a step reads of the units in front of each, and of all.
    read: Vec<u64>,
}

/// Units on a device.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Stage {
    pub device: usize,
    pub from: usize,
    /// Behind the last one.
    pub to: usize,
}

impl Table {
    /// A table of units of which a step reads so many bytes each, and of which those `from..to` need `need(from, to)` bytes.
    ///
    /// A range never needs less than one that begins later, or one that ends earlier, unless it is the one with the model's end or
    /// its beginning: there the output is another one, and the input.
    pub(crate) fn new(read: &[u64], mut need: impl FnMut(usize, usize) -> u64) -> Self {
        let units = read.len();
        let mut table = Self { units, needs: vec![0; units * (units + 1)], read: vec![0] };
        for (unit, bytes) in read.iter().enumerate() {
            table.read.push(table.read[unit].saturating_add(*bytes));
        }
        for from in 0..units {
            for to in from + 1..=units {
                let own = need(from, to);
                let at = table.at(from, to);
                table.needs[at] = own;
            }
        }
        table.level();
        table
    }

    /// Raises what is less than a part of it.
    fn level(&mut self) {
        for from in (0..self.units).rev() {
            for to in from + 1..=self.units {
                let shorter = if to < self.units && to > from + 1 { self.need(from, to - 1) } else { 0 };
                let later = if from > 0 && from + 1 < to { self.need(from + 1, to) } else { 0 };
                let at = self.at(from, to);
                self.needs[at] = self.needs[at].max(shorter).max(later);
            }
        }
    }

    /// Corrects what units `from..to` need, to more than the table has.
    pub(crate) fn raise(&mut self, from: usize, to: usize, need: u64) {
        let at = self.at(from, to);
        self.needs[at] = self.needs[at].max(need);
        self.level();
    }

    fn at(&self, from: usize, to: usize) -> usize {
        from * (self.units + 1) + to
    }

    /// Bytes of memory that units `from..to` need.
    pub(crate) fn need(&self, from: usize, to: usize) -> u64 {
        self.needs[self.at(from, to)]
    }

    /// Number of units.
    pub(crate) fn units(&self) -> usize {
        self.units
    }

    /// Bytes that a step reads of units `from..to`.
    pub(crate) fn read(&self, from: usize, to: usize) -> u64 {
        self.read[to] - self.read[from]
    }

    /// Seconds of a step in units `from..to` on `device`.
    pub(crate) fn seconds(&self, from: usize, to: usize, device: &Device) -> f64 {
        self.read(from, to) as f64 / device.bandwidth
    }
}

/// How far a device gets from each unit.
#[derive(Debug, Clone)]
pub(super) struct Reach {
    /// Behind the farthest unit in front of the last one that can be its end; the unit itself if none can.
    pub(super) most: Vec<usize>,
    /// Whether it can hold all up to the end.
    pub(super) whole: Vec<bool>,
}

impl Reach {
    /// How far `device` gets if its stage takes no more than `limit` seconds.
    pub(super) fn new(table: &Table, device: &Device, limit: f64) -> Self {
        let units = table.units;
        let fits =
            |from: usize, to: usize| table.need(from, to) <= device.room && table.seconds(from, to, device) <= limit;
        let (mut most, mut end) = (Vec::with_capacity(units), 0);
        for from in 0..units {
            // What begins with the model may need more or less than what begins behind it.
            end = if from < 2 { from } else { end.max(from) };
            while end + 1 < units && fits(from, end + 1) {
                end += 1;
            }
            most.push(end);
        }
        Self { most, whole: (0..units).map(|from| fits(from, units)).collect() }
    }

    /// Behind the farthest unit.
    pub(super) fn farthest(&self, from: usize) -> usize {
        if self.whole[from] { self.whole.len() } else { self.most[from] }
    }

    /// All places behind what can be held from `from` on.
    pub(super) fn ends(&self, from: usize) -> impl Iterator<Item = usize> {
        (from + 1..=self.most[from]).chain(self.whole[from].then_some(self.whole.len()))
    }
}
