! protocol.f90: the worker protocol: lines, words, numbers, commands and replies; network.txt and the files of numbers.
! Nothing here depends on the kind of real.

module protocol
  use, intrinsic :: ieee_arithmetic, only: ieee_is_finite
  use, intrinsic :: iso_fortran_env, only: int64, real64, output_unit
  implicit none

  type :: string
    character(:), allocatable :: text
  end type string

  type :: problem_type ! an error; none while `message` is not allocated
    character(:), allocatable :: message
    character(:), allocatable :: kind
  end type problem_type

  type :: request_type ! a command line
    character(:), allocatable :: name, operation
    integer(int64) :: first = 0, count = 1, batch = 1, repeats = 1, probes = 1
    real(real64) :: rate = 1
  end type request_type

  type :: clocks_type ! wall clock and CPU time of the process, in seconds
    real(real64) :: wall, cpu
  end type clocks_type

  type :: setup_type ! the contents of network.txt
    integer(int64), allocatable :: sizes(:)    ! m_0 .. m_L
    type(string), allocatable :: activations(:) ! f_1 .. f_L
    character(:), allocatable :: loss, dtype
    real(real64) :: l2
    integer(int64) :: rows, order, threads
  end type setup_type

  ! A network and its data, in one kind of real.
  type, abstract :: session
    integer(int64) :: rows = 0, n_order = 0
  contains
    procedure(load_interface), deferred :: load
    procedure(run_command_interface), deferred :: run_command
  end type session

  abstract interface
    ! Read the files of a folder into a new session.
    subroutine load_interface(self, folder, setup, problem)
      import :: session, setup_type, problem_type
      class(session), intent(inout) :: self
      character(*), intent(in) :: folder
      type(setup_type), intent(in) :: setup
      type(problem_type), intent(inout) :: problem
    end subroutine load_interface

    ! Run a command whose arguments have been checked, and write the fields of the reply.
    subroutine run_command_interface(self, folder, request, fields, problem)
      import :: session, request_type, problem_type
      class(session), intent(inout) :: self
      character(*), intent(in) :: folder
      type(request_type), intent(in) :: request
      character(:), allocatable, intent(inout) :: fields
      type(problem_type), intent(inout) :: problem
    end subroutine run_command_interface
  end interface

  character(*), parameter :: tab = achar(9)
  character(*), parameter :: usages(10) = [character(48) :: 'hello', 'init', 'quit', 'theta', 'reset', &
      'forward FIRST COUNT', 'gradient FIRST COUNT', 'train FIRST COUNT BATCH RATE', &
      'time forward FIRST COUNT REPEATS PROBES', 'time gradient FIRST COUNT REPEATS PROBES']

contains

  ! --- Errors and replies. ------------------------------------------------------------------------------------------

  ! Record an error, unless there is one already.
  subroutine fail(problem, message, kind)
    type(problem_type), intent(inout) :: problem
    character(*), intent(in) :: message
    character(*), intent(in), optional :: kind
    if (failed(problem)) return
    problem%message = message
    problem%kind = 'invalid'
    if (present(kind)) problem%kind = kind
  end subroutine fail

  pure function failed(problem)
    type(problem_type), intent(in) :: problem
    logical :: failed
    failed = allocated(problem%message)
  end function failed

  pure function field(key, value)
    character(*), intent(in) :: key, value
    character(:), allocatable :: field
    field = tab // key // '=' // encoded(value)
  end function field

  pure function encoded(text)
    character(*), intent(in) :: text
    character(:), allocatable :: encoded
    integer :: i, at
    allocate (character(3 * len(text)) :: encoded)
    at = 0
    do i = 1, len(text)
      select case (text(i:i))
      case ('%', achar(9), achar(10), achar(13))
        write (encoded(at + 1 : at + 3), '("%", z2.2)') iachar(text(i:i))
        at = at + 3
      case default
        at = at + 1
        encoded(at:at) = text(i:i)
      end select
    end do
    encoded = encoded(:at)
  end function encoded

  subroutine answer(fields, problem)
    character(*), intent(in) :: fields
    type(problem_type), intent(in) :: problem
    if (failed(problem)) then
      write (output_unit, '(a)') 'error' // field('kind', problem%kind) // field('message', problem%message)
    else
      write (output_unit, '(a)') 'ok' // fields
    end if
    flush (output_unit)
  end subroutine answer

  pure function whole_text(value) result(text)
    integer(int64), intent(in) :: value
    character(:), allocatable :: text
    character(20) :: buffer
    write (buffer, '(i0)') value
    text = trim(buffer)
  end function whole_text

  ! Format with 17 significant digits, which identify every double.
  pure function real_text(value) result(text)
    real(real64), intent(in) :: value
    character(:), allocatable :: text
    character(25) :: buffer
    write (buffer, '(es25.16e3)') value
    text = trim(adjustl(buffer))
  end function real_text

  ! --- Lines and words. ---------------------------------------------------------------------------------------------

  ! Read a line of any length from a unit with stream access; return false at the end of the file. A formatted read
  ! would end the line at a carriage return too.
  function read_line(unit, line) result(found)
    integer, intent(in) :: unit
    character(:), allocatable, intent(out) :: line
    logical :: found
    character(1024) :: piece
    character(1) :: next
    integer :: length, status
    line = ''
    length = 0
    do
      read (unit, iostat=status) next
      if (status /= 0 .or. next == new_line(next)) exit
      if (length == len(piece)) then
        line = line // piece
        length = 0
      end if
      length = length + 1
      piece(length:length) = next
    end do
    line = line // piece(:length)
    found = status == 0 .or. len(line) > 0
  end function read_line

  ! Split a line at blanks, tabs and carriage returns.
  function words_of(line) result(words)
    character(*), intent(in) :: line
    type(string), allocatable :: words(:)
    character(*), parameter :: gaps = ' ' // achar(9) // achar(13)
    character(:), allocatable :: text
    integer :: start, length, i
    text = ' ' // line // ' '
    allocate (words(count([(scan(text(i:i), gaps) > 0 .and. scan(text(i+1:i+1), gaps) == 0, i = 1, len(line))])))
    start = 1
    do i = 1, size(words)
      start = start + verify(text(start:), gaps) - 1
      length = scan(text(start:), gaps) - 1
      words(i) = string(text(start : start + length - 1))
      start = start + length
    end do
  end function words_of

  ! Read an integer. The digits are checked first, because Fortran's formatted read also accepts "1-3", "" and "5,".
  subroutine read_whole(text, value, valid)
    character(*), intent(in) :: text
    integer(int64), intent(out) :: value
    logical, intent(out) :: valid
    character(16) :: format
    integer :: status
    value = 0
    valid = is_number(text, '')
    if (.not. valid) return
    write (format, '("(i", i0, ")")') len(text)
    read (text, format, iostat=status) value
    valid = status == 0
  end subroutine read_whole

  subroutine read_real(text, value, valid)
    character(*), intent(in) :: text
    real(real64), intent(out) :: value
    logical, intent(out) :: valid
    character(16) :: format
    integer :: status, e
    value = 0
    e = scan(text // 'e', 'eE')
    valid = is_number(text(: e - 1), '.')
    if (valid .and. e <= len(text)) valid = is_number(text(e + 1 :), '')
    if (.not. valid) return
    write (format, '("(f", i0, ".0)")') len(text)
    read (text, format, iostat=status) value
    valid = status == 0
  end subroutine read_real

  ! Return true for an optional sign, then at least one digit and at most one point.
  pure function is_number(text, point)
    character(*), intent(in) :: text, point
    logical :: is_number
    integer :: start, at
    start = 1
    if (len(text) > 0) then
      if (scan(text(1:1), '+-') > 0) start = 2
    end if
    at = scan(text, point)
    is_number = scan(text(start:), '0123456789') > 0 .and. verify(text(start:), '0123456789' // point) == 0
    if (at > 0) is_number = is_number .and. scan(text(at + 1 :), point) == 0
  end function is_number

  ! --- Commands. ----------------------------------------------------------------------------------------------------

  subroutine parse_request(line, request, problem)
    character(*), intent(in) :: line
    type(request_type), intent(out) :: request
    type(problem_type), intent(inout) :: problem
    type(string), allocatable :: words(:), usage(:)
    integer :: row, i
    logical :: known, valid, fits
    allocate (words, source=words_of(line))
    known = .false.
    do row = 1, size(usages)
      usage = words_of(usages(row))
      if (usage(1)%text /= words(1)%text) cycle
      known = .true.
      if (size(usage) /= size(words)) cycle
      valid = .true.
      do i = 1, size(words)
        call take(request, usage(i)%text, words(i)%text, fits)
        valid = valid .and. fits
      end do
      if (valid) return
    end do
    if (.not. known) call fail(problem, "unknown command '" // words(1)%text // "'; known: hello, init, forward, " // &
        'gradient, train, time, theta, reset, quit')
    call fail(problem, "'" // line // "': the command is " // usage_of(words(1)%text))
  end subroutine parse_request

  function usage_of(name) result(text)
    character(*), intent(in) :: name
    character(:), allocatable :: text
    integer :: row
    text = ''
    do row = 1, size(usages)
      if (index(usages(row), name) /= 1) cycle
      if (text /= '') text = text // ' or '
      text = text // "'" // trim(usages(row)) // "'"
    end do
  end function usage_of

  subroutine take(request, place, word, valid)
    type(request_type), intent(inout) :: request
    character(*), intent(in) :: place, word
    logical, intent(out) :: valid
    select case (place)
    case ('FIRST')
      call read_whole(word, request%first, valid)
    case ('COUNT')
      call read_whole(word, request%count, valid)
    case ('BATCH')
      call read_whole(word, request%batch, valid)
    case ('REPEATS')
      call read_whole(word, request%repeats, valid)
    case ('PROBES')
      call read_whole(word, request%probes, valid)
    case ('RATE')
      call read_real(word, request%rate, valid)
    case default
      valid = word == place
      if (allocated(request%name)) request%operation = word
      if (.not. allocated(request%name)) request%name = word
    end select
  end subroutine take

  ! Check that FIRST and COUNT lie within the rows (for `train`, the entries of order), and the range of each number.
  subroutine check_request(request, rows, n_order, problem)
    type(request_type), intent(in) :: request
    integer(int64), intent(in) :: rows, n_order
    type(problem_type), intent(inout) :: problem
    integer(int64) :: length
    character(:), allocatable :: what
    length = rows
    what = ' rows'
    if (request%name == 'train') then
      length = n_order
      what = ' entries of order'
    end if
    if (request%first < 0 .or. request%count < 1 .or. request%count > length &
        .or. request%first > length - request%count) &
      call fail(problem, 'FIRST = ' // whole_text(request%first) // ', COUNT = ' // whole_text(request%count) // &
          ': must lie within the ' // whole_text(length) // what)
    if (request%batch < 1) &
      call fail(problem, 'BATCH = ' // whole_text(request%batch) // ': must be at least 1')
    if (request%repeats < 1) &
      call fail(problem, 'REPEATS = ' // whole_text(request%repeats) // ': must be at least 1')
    if (request%probes < 1) &
      call fail(problem, 'PROBES = ' // whole_text(request%probes) // ': must be at least 1')
    if (.not. (ieee_is_finite(request%rate) .and. request%rate > 0)) &
      call fail(problem, 'RATE = ' // real_text(request%rate) // ': must be finite and above 0')
  end subroutine check_request

  ! --- network.txt. -------------------------------------------------------------------------------------------------

  subroutine read_setup(folder, setup, problem)
    character(*), intent(in) :: folder
    type(setup_type), intent(out) :: setup
    type(problem_type), intent(inout) :: problem
    type(string), allocatable :: lines(:), hidden(:), last(:), one(:)
    integer :: l
    call read_lines(folder, 'network.txt', lines, problem)
    if (failed(problem)) return
    hidden = values_of(lines, 'sizes', -1, problem)
    allocate (setup%sizes(size(hidden)))
    do l = 1, size(hidden)
      setup%sizes(l) = whole_of(hidden(l), 'sizes', problem)
    end do
    if (size(setup%sizes) < 2) call fail(problem, 'network.txt: sizes: must be at least 2 numbers')
    hidden = values_of(lines, 'activations', max(size(setup%sizes) - 2, 0), problem)
    last = values_of(lines, 'output_activation', 1, problem)
    setup%activations = [hidden, last]
    one = values_of(lines, 'loss', 1, problem)
    setup%loss = one(1)%text
    one = values_of(lines, 'dtype', 1, problem)
    setup%dtype = one(1)%text
    one = values_of(lines, 'l2', 1, problem)
    setup%l2 = l2_of(one(1), problem)
    one = values_of(lines, 'rows', 1, problem)
    setup%rows = whole_of(one(1), 'rows', problem)
    one = values_of(lines, 'order', 1, problem)
    setup%order = whole_of(one(1), 'order', problem)
    one = values_of(lines, 'threads', 1, problem)
    setup%threads = whole_of(one(1), 'threads', problem)
  end subroutine read_setup

  subroutine read_lines(folder, name, lines, problem)
    character(*), intent(in) :: folder, name
    type(string), allocatable, intent(out) :: lines(:)
    type(problem_type), intent(inout) :: problem
    character(:), allocatable :: line
    character(200) :: reason
    integer :: unit, status
    allocate (lines(0))
    open (newunit=unit, file=folder // '/' // name, action='read', status='old', access='stream', iostat=status, &
        iomsg=reason)
    if (status /= 0) then
      call fail(problem, name // ': ' // trim(reason))
      return
    end if
    do while (read_line(unit, line))
      lines = [lines, string(line)]
    end do
    close (unit)
  end subroutine read_lines

  ! Return the n words after a key; n = -1: any number of words. After an error, the words are empty.
  function values_of(lines, key, n, problem) result(values)
    type(string), intent(in) :: lines(:)
    character(*), intent(in) :: key
    integer, intent(in) :: n
    type(problem_type), intent(inout) :: problem
    type(string), allocatable :: values(:), words(:)
    integer :: i
    do i = 1, size(lines)
      words = words_of(lines(i)%text)
      if (size(words) == 0) cycle
      if (words(1)%text == key) values = words(2:)
    end do
    if (.not. allocated(values)) then
      call fail(problem, 'network.txt has no line ' // key)
    else if (n < 0 .or. size(values) == n) then
      return
    else
      call fail(problem, 'network.txt: ' // key // ': ' // whole_text(size(values, kind=int64)) // ' words: must be ' &
          // whole_text(int(n, int64)))
    end if
    values = [(string(''), i = 1, max(n, 0))]
  end function values_of

  function whole_of(word, key, problem) result(value)
    type(string), intent(in) :: word
    character(*), intent(in) :: key
    type(problem_type), intent(inout) :: problem
    integer(int64) :: value
    logical :: valid
    call read_whole(word%text, value, valid)
    if (.not. valid .or. value < 1) &
      call fail(problem, 'network.txt: ' // key // " = '" // word%text // "': must be an integer, at least 1")
  end function whole_of

  function l2_of(word, problem) result(value)
    type(string), intent(in) :: word
    type(problem_type), intent(inout) :: problem
    real(real64) :: value
    logical :: valid
    call read_real(word%text, value, valid)
    if (.not. (valid .and. value >= 0 .and. ieee_is_finite(value))) &
      call fail(problem, "network.txt: l2 = '" // word%text // "': must be finite, at least 0")
  end function l2_of

  ! --- Files of numbers. --------------------------------------------------------------------------------------------

  ! Open a file that must hold n numbers of `bytes` bytes each; after an error, unit is 0.
  subroutine open_numbers(folder, name, n, bytes, unit, problem)
    character(*), intent(in) :: folder, name
    integer(int64), intent(in) :: n
    integer, intent(in) :: bytes
    integer, intent(out) :: unit
    type(problem_type), intent(inout) :: problem
    character(200) :: reason
    integer(int64) :: got
    integer :: status
    unit = 0
    open (newunit=unit, file=folder // '/' // name, access='stream', form='unformatted', action='read', &
          status='old', iostat=status, iomsg=reason)
    if (status /= 0) then
      call fail(problem, name // ': ' // trim(reason))
      unit = 0
      return
    end if
    inquire (unit=unit, size=got)
    if (got == n * bytes) return
    call fail(problem, name // ' has ' // whole_text(got) // ' bytes: must be ' // whole_text(n * bytes))
    close (unit)
    unit = 0
  end subroutine open_numbers

  ! Read CLOCK_MONOTONIC and the CPU time of the process, all threads, in seconds.
  function read_clocks() result(clocks)
    type(clocks_type) :: clocks
    call cpu_time(clocks%cpu)
    clocks%wall = now()
  end function read_clocks

  ! Return the seconds since the reading, as fields of a reply.
  function elapsed(start) result(fields)
    type(clocks_type), intent(in) :: start
    character(:), allocatable :: fields
    real(real64) :: seconds, cpu
    seconds = now() - start%wall
    call cpu_time(cpu)
    fields = field('seconds', real_text(seconds)) // field('cpu_seconds', real_text(cpu - start%cpu))
  end function elapsed

  function now() result(seconds)
    real(real64) :: seconds
    integer(int64) :: ticks, rate
    call system_clock(ticks, rate)
    seconds = real(ticks, real64) / rate
  end function now

end module protocol
