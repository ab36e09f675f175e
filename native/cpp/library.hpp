// library.hpp: a shared library that is opened at run time, for the classes of products that call one.
#pragma once

#include <dlfcn.h>
#include <memory>
#include <stdexcept>
#include <string>

namespace fnn {

// Every library stays in memory until the process ends: LIBXSMM 1.17 crashes when it is unloaded and opened again.
class SharedLibrary {
public:
  // path: as for dlopen. Throws std::runtime_error if the file is no library.
  explicit SharedLibrary(const std::string &path)
      : handle_(dlopen(path.c_str(), RTLD_NOW | RTLD_LOCAL | RTLD_NODELETE), dlclose) {
    if (!handle_)
      throw std::runtime_error(dlerror());
  }

  bool has(const std::string &name) const {
    return dlsym(handle_.get(), name.c_str()) != nullptr;
  }

  // Return the function of that name. Throws std::runtime_error if the library has none.
  template <class Signature> Signature *find(const std::string &name) const {
    if (void *symbol = dlsym(handle_.get(), name.c_str()))
      return reinterpret_cast<Signature *>(symbol);
    throw std::runtime_error("it has no " + name);
  }

private:
  std::unique_ptr<void, int (*)(void *)> handle_;
};

} // namespace fnn
