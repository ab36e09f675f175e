# libfnn_cuda_probe.so: the probe of CUDA devices (probe.h). It needs nvcc to build, and a driver only when called.
add_library(fnn_cuda_probe SHARED probe.cu)
pyfnn_record(fnn_cuda_probe probe.cu probe.h)
target_compile_options(fnn_cuda_probe PRIVATE -O3)
if(PYFNN_WERROR)
  target_compile_options(fnn_cuda_probe PRIVATE -Werror=all-warnings -Xcompiler=-Wall,-Wextra,-Werror)
endif()
set_target_properties(
  fnn_cuda_probe
  PROPERTIES PREFIX lib
             SUFFIX .so
             CUDA_STANDARD 17
             CUDA_STANDARD_REQUIRED ON
             CUDA_RUNTIME_LIBRARY Static
             CUDA_VISIBILITY_PRESET hidden
)
install(TARGETS fnn_cuda_probe LIBRARY DESTINATION pyfnn)
