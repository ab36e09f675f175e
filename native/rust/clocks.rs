// clocks.rs: the clocks of timed work: the wall clock and the CPU time of the process, all threads.
#![allow(unsafe_code)]

use std::os::raw::{c_int, c_long};
use std::time::Instant;

#[repr(C)]
struct Timespec {
    seconds: c_long,
    nanoseconds: c_long,
}

extern "C" {
    fn clock_gettime(clock: c_int, time: *mut Timespec) -> c_int;
}

const CLOCK_PROCESS_CPUTIME_ID: c_int = if cfg!(target_os = "macos") { 12 } else { 2 };

pub struct Clocks {
    cpu: f64,
    wall: Instant,
}

impl Clocks {
    pub fn read() -> Clocks {
        let cpu = cpu_seconds();
        Clocks { cpu, wall: Instant::now() }
    }

    /// Wall and CPU seconds since the reading.
    pub fn elapsed(&self) -> (f64, f64) {
        let wall = self.wall.elapsed().as_secs_f64();
        (wall, cpu_seconds() - self.cpu)
    }
}

fn cpu_seconds() -> f64 {
    let mut time = Timespec { seconds: 0, nanoseconds: 0 };
    // SAFETY: `time` has the layout of C's struct timespec, and outlives the call.
    unsafe { clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &mut time) };
    time.seconds as f64 + 1e-9 * time.nanoseconds as f64
}
