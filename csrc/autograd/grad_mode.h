// Whether operations are recorded, per thread.
#pragma once

#include <atomic>

namespace ctorch {

// Together, as the address of a thread-local variable costs a call.
struct Modes {
  bool grad = true;
  bool inference = false;
};
inline thread_local constinit Modes t_modes;

inline bool grad_enabled() { return t_modes.grad; }
inline void set_grad_enabled(bool enabled) { t_modes.grad = enabled; }
inline bool inference_mode() { return t_modes.inference; }
inline void set_inference_mode(bool on) { t_modes.inference = on; }
// Operations are recorded: grad mode is on, and inference mode, which is above it, is not.
inline bool recording() {
  const Modes& modes = t_modes;
  return modes.grad && !modes.inference;
}

// Anomaly mode, of all threads: nodes remember where they were made, and a backward pass that fails, or makes
// a nan where that is checked, tells.
inline std::atomic<bool> g_anomaly_mode{false};
inline std::atomic<bool> g_anomaly_check_nan{true};
inline bool anomaly_mode() { return g_anomaly_mode.load(std::memory_order_relaxed); }

// Sets the mode for a scope.
class GradModeGuard {
 public:
  explicit GradModeGuard(bool enabled) : previous_(grad_enabled()) { set_grad_enabled(enabled); }
  ~GradModeGuard() { set_grad_enabled(previous_); }
  GradModeGuard(const GradModeGuard&) = delete;
  GradModeGuard& operator=(const GradModeGuard&) = delete;

 private:
  bool previous_;
};

}  // namespace ctorch
