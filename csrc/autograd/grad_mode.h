// Whether operations are recorded, per thread.
#pragma once

namespace ctorch {

inline thread_local constinit bool t_grad_enabled = true;
inline thread_local constinit bool t_inference_mode = false;

inline bool grad_enabled() { return t_grad_enabled; }
inline void set_grad_enabled(bool enabled) { t_grad_enabled = enabled; }
inline bool inference_mode() { return t_inference_mode; }
inline void set_inference_mode(bool on) { t_inference_mode = on; }

// Sets the mode for a scope.
class GradModeGuard {
 public:
  explicit GradModeGuard(bool enabled) : previous_(t_grad_enabled) { t_grad_enabled = enabled; }
  ~GradModeGuard() { t_grad_enabled = previous_; }
  GradModeGuard(const GradModeGuard&) = delete;
  GradModeGuard& operator=(const GradModeGuard&) = delete;

 private:
  bool previous_;
};

}  // namespace ctorch
