# Which NVIDIA GPUs this machine has, and which to compile for.

# find_nvidia_gpus(<result>): return the compute capabilities of this machine's GPUs, as 9.0; "unknown" for GPUs whose
# driver does not report it; empty where nvidia-smi lists none.
function(find_nvidia_gpus result)
  execute_process(
    COMMAND nvidia-smi --query-gpu=compute_cap --format=csv,noheader OUTPUT_VARIABLE here ERROR_QUIET RESULT_VARIABLE failed
  )
  string(REGEX MATCHALL "[0-9]+[.][0-9]" found "${here}")
  if(NOT failed STREQUAL 0 OR NOT found) # a driver before 510 does not know compute_cap
    set(found "")
    execute_process(COMMAND nvidia-smi -L OUTPUT_VARIABLE listed ERROR_QUIET RESULT_VARIABLE failed)
    if(failed STREQUAL 0 AND listed MATCHES "GPU [0-9]+:")
      set(found unknown)
    endif()
  endif()
  list(REMOVE_DUPLICATES found)
  set(${result} ${found} PARENT_SCOPE)
endfunction()

# choose_cuda_architectures(<result> <nvcc> <gpu>...): return the GPUs to compile for: those that
# PYFNN_CUDA_ARCHITECTURES names, or else this machine's, if nvcc knows them, or else all since Turing.
function(choose_cuda_architectures result nvcc)
  # Machine code for 8.0 runs on every 8.x, that for 9.0 on 9.0 alone. Later GPUs compile the PTX of 9.0.
  set(every 75-real 80-real 90)
  execute_process(COMMAND ${nvcc} --list-gpu-code OUTPUT_VARIABLE known ERROR_QUIET)
  set(chosen "")
  foreach(capability IN LISTS ARGN)
    string(REPLACE "." "" capability "${capability}")
    if(capability GREATER_EQUAL 75 AND known MATCHES "sm_${capability}[\r\n]")
      list(APPEND chosen ${capability}-real)
    else() # nvcc is older than this GPU, or the GPU is unknown
      set(chosen "")
      break()
    endif()
  endforeach()
  if(NOT chosen)
    set(chosen ${every})
  endif()
  if(PYFNN_CUDA_ARCHITECTURES)
    set(chosen ${PYFNN_CUDA_ARCHITECTURES})
  endif()
  set(${result} ${chosen} PARENT_SCOPE)
endfunction()
