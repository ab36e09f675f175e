! mlp.f90: the network in both kinds of real, a module each. All of it is in mlp.inc, which knows its kind as rk.

module mlp_float32
  use, intrinsic :: iso_fortran_env, only: rk => real32, int64, real64
  include 'mlp.inc'
end module mlp_float32

module mlp_float64
  use, intrinsic :: iso_fortran_env, only: rk => real64, int64, real64
  include 'mlp.inc'
end module mlp_float64
