# choose_cuda_architectures(<result> <nvcc>): return the GPUs to compile for: those that PYFNN_CUDA_ARCHITECTURES names,
# or else this machine's, if nvcc knows them, or else all since Turing.
function(choose_cuda_architectures result nvcc)
  # Machine code for 8.0 runs on every 8.x, that for 9.0 on 9.0 alone. Later GPUs compile the PTX of 9.0.
  set(chosen 75-real 80-real 90)
  execute_process(
    COMMAND nvidia-smi --query-gpu=compute_cap --format=csv,noheader OUTPUT_VARIABLE here ERROR_QUIET RESULT_VARIABLE failed
  )
  execute_process(COMMAND ${nvcc} --list-gpu-code OUTPUT_VARIABLE known ERROR_QUIET)
  string(REGEX MATCHALL "[0-9]+[.][0-9]" here "${here}")
  list(REMOVE_DUPLICATES here)
  set(own "")
  foreach(capability IN LISTS here)
    string(REPLACE "." "" capability ${capability})
    if(capability GREATER_EQUAL 75 AND known MATCHES "sm_${capability}[\r\n]")
      list(APPEND own ${capability}-real)
    else() # nvcc is older than this GPU
      set(failed 1)
    endif()
  endforeach()
  if(failed STREQUAL 0 AND own)
    set(chosen ${own})
  endif()
  if(PYFNN_CUDA_ARCHITECTURES)
    set(chosen ${PYFNN_CUDA_ARCHITECTURES})
  endif()
  set(${result} ${chosen} PARENT_SCOPE)
endfunction()
