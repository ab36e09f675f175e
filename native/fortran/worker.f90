! worker.f90: the program: reads commands, runs them on the current session, and answers. Parsing and replies are in
! protocol.f90, the code that depends on the kind of real is in session.inc, the network is in mlp.inc.

module sessions_float32
  use mlp_float32
  use, intrinsic :: iso_fortran_env, only: rk => real32
  include 'session.inc'
end module sessions_float32

module sessions_float64
  use mlp_float64
  use, intrinsic :: iso_fortran_env, only: rk => real64
  include 'session.inc'
end module sessions_float64

program worker
  use, intrinsic :: iso_fortran_env, only: compiler_version
  use mlp_float64, only: activation_type, activations, loss_type, losses ! both kinds have the same names
  use protocol
  use sessions_float32, only: session_float32 => session_of_kind
  use sessions_float64, only: session_float64 => session_of_kind
  implicit none
  include 'flags.inc' ! written by the build: character(*), parameter :: flags
  class(session), allocatable :: current
  character(:), allocatable :: folder, line
  character(200) :: reason
  integer :: commands, status

  folder = last_argument()
  open (newunit=commands, file='/dev/stdin', action='read', access='stream', iostat=status, iomsg=reason)
  if (status /= 0) error stop trim(reason)
  do while (read_line(commands, line))
    if (size(words_of(line)) == 0) cycle
    if (.not. answer_line(line)) exit
  end do

contains

  function last_argument() result(text)
    character(:), allocatable :: text
    integer :: length
    call get_command_argument(command_argument_count(), length=length)
    allocate (character(length) :: text)
    call get_command_argument(command_argument_count(), text)
  end function last_argument

  ! Answer one line; return false after `quit`.
  function answer_line(line)
    character(*), intent(in) :: line
    logical :: answer_line
    type(request_type) :: request
    type(problem_type) :: problem
    character(:), allocatable :: fields
    fields = ''
    call parse_request(line, request, problem)
    answer_line = failed(problem) .or. request%name /= 'quit'
    if (.not. failed(problem)) then
      select case (request%name)
      case ('hello')
        fields = hello()
      case ('init')
        call init(fields, problem)
      case ('quit')
      case default
        call run_on_session(request, fields, problem)
      end select
    end if
    call answer(fields, problem)
  end function answer_line

  function hello() result(fields)
    character(:), allocatable :: fields
    character(*), parameter :: gcc = 'GCC version '
    character(:), allocatable :: compiler
    compiler = compiler_version()
    if (index(compiler, gcc) == 1) compiler = 'GNU Fortran ' // compiler(len(gcc) + 1 :)
    fields = field('protocol', '1') // field('name', 'fortran') // field('language', 'Fortran') // &
        field('compiler', compiler) // field('flags', flags) // field('activations', activation_names()) // &
        field('losses', loss_names()) // field('arithmetic', 'native') // field('deterministic', 'yes') // &
        field('clock', 'system_clock (CLOCK_MONOTONIC)')
  end function hello

  ! List the elementwise activations: every layer takes them.
  function activation_names() result(names)
    character(:), allocatable :: names
    type(activation_type) :: table(size(activations()))
    integer :: row
    table = activations()
    names = ''
    do row = 1, size(table)
      if (associated(table(row)%derivative)) names = names // ',' // trim(table(row)%name)
    end do
    names = names(2:)
  end function activation_names

  function loss_names() result(names)
    character(:), allocatable :: names
    type(loss_type) :: table(size(losses()))
    integer :: row
    table = losses()
    names = ''
    do row = 1, size(table)
      names = names // ',' // trim(table(row)%name)
    end do
    names = names(2:)
  end function loss_names

  ! Make a new session; after an error, the current one stays.
  subroutine init(fields, problem)
    character(:), allocatable, intent(inout) :: fields
    type(problem_type), intent(inout) :: problem
    type(setup_type) :: setup
    class(session), allocatable :: fresh
    call read_setup(folder, setup, problem)
    if (failed(problem)) return
    select case (setup%dtype)
    case ('float32')
      allocate (session_float32 :: fresh)
    case ('float64')
      allocate (session_float64 :: fresh)
    case default
      call fail(problem, "no dtype '" // setup%dtype // "': float32, float64", 'unsupported')
      return
    end select
    call fresh%load(folder, setup, problem)
    if (failed(problem)) return
    call move_alloc(fresh, current)
    fields = field('threads', '1')
  end subroutine init

  subroutine run_on_session(request, fields, problem)
    type(request_type), intent(in) :: request
    character(:), allocatable, intent(inout) :: fields
    type(problem_type), intent(inout) :: problem
    if (.not. allocated(current)) then
      call fail(problem, request%name // ': no network yet: init comes first')
      return
    end if
    if (request%name /= 'theta' .and. request%name /= 'reset') &
      call check_request(request, current%rows, current%n_order, problem)
    if (.not. failed(problem)) call current%run_command(folder, request, fields, problem)
  end subroutine run_on_session

end program worker
