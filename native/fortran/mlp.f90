! mlp.f90: the network, one module for each kind of real. The code is in mlp.inc, where rk is the kind.

module mlp_float32
  use, intrinsic :: iso_fortran_env, only: rk => real32, int64, real64
  include 'mlp.inc'
end module mlp_float32

module mlp_float64
  use, intrinsic :: iso_fortran_env, only: rk => real64, int64, real64
  include 'mlp.inc'
end module mlp_float64
