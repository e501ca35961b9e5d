#![no_main]

libfuzzer_sys::fuzz_target!(|octets: &[u8]| mailwright_fuzz_targets::run("milter_packet", octets));
