// AMX in software, so that kernels for it run on machines without: the processor raises SIGILL on their
// instructions, and a handler does what each of them would have done.
//
// It knows the instructions of AMX-TILE and AMX-BF16 that compilers make of the intrinsics, and does them as
// Intel's manual says (Software Developer's Manual, volume 2), tile shapes included: an instruction that the
// processor would refuse (no configuration, shapes that do not fit) remains an illegal one. An instruction
// takes some microseconds. The machine must have AVX-512; on systems other than Linux on x86-64 all is empty.
#pragma once

namespace ctorch {

// AMX instructions work on all threads while an object lives. There may be one at a time.
class AmxEmulator {
 public:
  AmxEmulator();
  ~AmxEmulator();
  AmxEmulator(const AmxEmulator&) = delete;
  AmxEmulator& operator=(const AmxEmulator&) = delete;
  // Instructions emulated so far.
  static long count();
  // Whether the calling thread has a tile configuration, which a kernel should not leave behind.
  static bool configured();
};

}  // namespace ctorch
