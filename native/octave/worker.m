% worker.m: the worker protocol, in Octave: lines on stdin, replies on stdout, arrays in files of WORKDIR; the clock.
% Nothing of the mathematics is here: that is mlp.m.

1; % a script, though it starts with functions

% --- Replies. ---------------------------------------------------------------------------------------------------------

% fields: (n, 2) keys and values
function reply(status, fields)
  line = status;
  for i = 1:rows(fields)
    line = [line, "\t", fields{i, 1}, '=', encoded(fields{i, 2})];
  end
  fputs(stdout, [line, "\n"]);
  fflush(stdout);
end

function text = encoded(text)
  for escape = {'%', '%25'; "\t", '%09'; "\n", '%0A'; "\r", '%0D'}'
    text = strrep(text, escape{:});
  end
end

function text = digits17(value)
  text = sprintf('%.17g', value);
end

% --- Commands. --------------------------------------------------------------------------------------------------------

% A command is parsed outside its clock, but not for nothing: regexp is built in, strsplit takes ten times as long.
function table = usages()
  table = {{'hello'}, {'init'}, {'quit'}, {'theta'}, {'reset'}, {'forward', 'FIRST', 'COUNT'}, ...
           {'gradient', 'FIRST', 'COUNT'}, {'train', 'FIRST', 'COUNT', 'BATCH', 'RATE'}, ...
           {'time', 'forward|gradient', 'FIRST', 'COUNT', 'REPEATS'}};
end

function words = words_of(line)
  words = regexp(line, '\S+', 'match');
end

% The words as a struct: name, operation, first, count, ...
function request = parse_request(words)
  table = usages();
  for i = 1:numel(table)
    if strcmp(table{i}{1}, words{1})
      request = take_words(words, table{i});
      if isempty(request)
        error('''%s'': the command is ''%s''', strjoin(words), strjoin(table{i}));
      end
      return
    end
  end
  names = cellfun(@(usage) usage{1}, table, 'UniformOutput', false);
  error('unknown command ''%s''; known: %s', words{1}, strjoin(names, ', '));
end

% Empty where the words do not fit their places.
function request = take_words(words, places)
  request = struct('name', words{1});
  valid = numel(words) == numel(places);
  for i = 2:numel(words)
    if ~valid
      break
    elseif strcmp(places{i}, 'forward|gradient')
      request.operation = words{i};
      valid = any(strcmp(words{i}, {'forward', 'gradient'}));
    elseif strcmp(places{i}, 'RATE')
      [request.rate, valid] = real_number(words{i});
    else
      [request.(lower(places{i})), valid] = whole_number(words{i});
    end
  end
  if ~valid
    request = [];
  end
end

% str2double takes more for a number than digits with a sign ("1e1", "1,2", "i"). Whole numbers up to 2^53 are exact.
function [value, valid] = whole_number(word)
  value = str2double(word);
  valid = ~isempty(regexp(word, '^[+-]?\d+$', 'once')) && abs(value) <= flintmax();
end

function [value, valid] = real_number(word)
  value = str2double(word);
  valid = ~isempty(regexp(word, '^[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?$', 'once'));
end

% Rows, or for `train` entries of order, must be there; the other numbers have their rules.
function check_request(request, data)
  length = rows(data.x);
  what = 'rows';
  if strcmp(request.name, 'train')
    length = numel(data.order);
    what = 'entries of order';
  end
  if request.first < 0 || request.count < 1 || request.first + request.count > length
    error('FIRST = %d, COUNT = %d: must lie within the %d %s', request.first, request.count, length, what);
  end
  for key = {'batch', 'repeats'}
    if isfield(request, key{1}) && request.(key{1}) < 1
      error('%s = %d: must be at least 1', upper(key{1}), request.(key{1}));
    end
  end
  if isfield(request, 'rate') && ~(isfinite(request.rate) && request.rate > 0)
    error('RATE = %g: must be finite and above 0', request.rate);
  end
end

% --- network.txt. -----------------------------------------------------------------------------------------------------

function setup = read_setup(folder)
  lines = read_lines([folder, '/network.txt']);
  setup.sizes = cellfun(@(word) size_of(word, 'sizes'), values_of(lines, 'sizes'));
  if numel(setup.sizes) < 2
    error('network.txt: sizes: at least two are needed');
  end
  hidden = values_of(lines, 'activations', numel(setup.sizes) - 2);
  setup.activations = [hidden, values_of(lines, 'output_activation', 1)];
  setup.loss = values_of(lines, 'loss', 1){1};
  setup.dtype = values_of(lines, 'dtype', 1){1};
  setup.l2 = l2_of(values_of(lines, 'l2', 1){1});
  for key = {'rows', 'order', 'threads'}
    setup.(key{1}) = size_of(values_of(lines, key{1}, 1){1}, key{1});
  end
end

function lines = read_lines(path)
  [file, reason] = fopen(path, 'r');
  if file < 0
    error('network.txt: %s', reason);
  end
  bytes = fread(file, [1, Inf], '*uint8');
  fclose(file);
  if any(bytes > 127)
    error('network.txt: holds bytes that are not ASCII');
  end
  lines = strsplit(char(bytes), "\n");
end

% The words after a key: so many, if a number is given.
function values = values_of(lines, key, n)
  values = [];
  for i = 1:numel(lines)
    words = words_of(lines{i});
    if ~isempty(words) && strcmp(words{1}, key)
      values = words(2:end);
    end
  end
  if ~iscell(values)
    error('network.txt has no line %s', key);
  end
  if nargin > 2 && numel(values) ~= n
    error('network.txt: %s: has %d values, not %d', key, numel(values), n);
  end
end

function value = size_of(word, key)
  [value, valid] = whole_number(word);
  if ~valid || value < 1
    error('network.txt: %s = ''%s'': must be a whole number, at least 1', key, word);
  end
end

function value = l2_of(word)
  [value, valid] = real_number(word);
  if ~(valid && value >= 0 && isfinite(value))
    error('network.txt: l2 = ''%s'': must be finite, 0 or more', word);
  end
end

% --- Making a session: a struct of net, data, start (net.W and net.b as they came) and threads. -----------------------

function session = make_session(folder, functions)
  setup = read_setup(folder);
  precisions = struct('float32', 'single', 'float64', 'double');
  if ~isfield(precisions, setup.dtype)
    error('pyfnn:unsupported', 'no dtype ''%s'': float32, float64', setup.dtype);
  end
  precision = precisions.(setup.dtype);
  session.net = make_net(setup, functions);
  theta = read_numbers(folder, 'theta.bin', sum((setup.sizes(1:end-1) + 1) .* setup.sizes(2:end)), precision);
  [session.net.W, session.net.b] = unpack(theta, setup.sizes);
  session.start = struct('W', {session.net.W}, 'b', {session.net.b});
  session.data.x = read_rows(folder, 'x.bin', setup.sizes(1), setup.rows, precision);
  session.data.y = read_rows(folder, 'y.bin', setup.sizes(end), setup.rows, precision);
  session.data.order = read_order(folder, setup);
  session.threads = blas_threads();
end

function net = make_net(setup, functions)
  row = find(strcmp({functions.losses.name}, setup.loss));
  if isempty(row)
    error('pyfnn:unsupported', 'no loss ''%s''', setup.loss);
  end
  net.loss = functions.losses(row);
  net.l2 = setup.l2;
  for l = 1:numel(setup.activations)
    name = setup.activations{l};
    fuses = l == numel(setup.activations) && ~isempty(net.loss.fuses);
    if fuses && ~strcmp(name, net.loss.fuses)
      error('network.txt: output_activation: %s fuses %s, not ''%s''', setup.loss, net.loss.fuses, name);
    end
    row = find(strcmp({functions.activations.name}, name));
    if isempty(row) || (~fuses && isempty(functions.activations(row).slope))
      error('pyfnn:unsupported', 'no activation ''%s''', name);
    end
    net.f{l} = functions.activations(row).f;
    net.slope{l} = functions.activations(row).slope;
  end
end

% In theta each W_l stands row by row, where Octave stores by columns.
function [W, b] = unpack(theta, sizes)
  at = 0;
  for l = 1:numel(sizes)-1
    n = sizes(l) * sizes(l+1);
    W{l} = reshape(theta(at + (1:n)), sizes(l+1), sizes(l)).';
    b{l} = reshape(theta(at + n + (1:sizes(l+1))), 1, []);
    at = at + n + sizes(l+1);
  end
end

function theta = pack(W, b)
  parts = [cellfun(@(w) w.'(:), W, 'UniformOutput', false); cellfun(@(v) v(:), b, 'UniformOutput', false)];
  theta = vertcat(parts{:});
end

% How many threads BLAS will use. It read these variables as it was loaded; nothing in the language tells or sets it.
function n = blas_threads()
  n = 1;
  if ~isempty(strfind(version('-blas'), 'reference'))
    return
  end
  for variable = {'OPENBLAS_NUM_THREADS', 'OMP_NUM_THREADS'}
    n = str2double(getenv(variable{1}));
    if n >= 1
      return
    end
  end
  n = nproc();
end

% --- Files of numbers. ------------------------------------------------------------------------------------------------

function values = read_numbers(folder, name, n, precision)
  bytes = struct('single', 4, 'double', 8, 'int64', 8);
  [file, reason] = fopen([folder, '/', name], 'r', 'ieee-le');
  if file < 0
    error('%s: %s', name, reason);
  end
  closing = onCleanup(@() fclose(file));
  fseek(file, 0, 'eof');
  got = ftell(file);
  wanted = n * bytes.(precision);
  if got ~= wanted
    error('%s has %d bytes: %d are wanted', name, got, wanted);
  end
  fseek(file, 0, 'bof');
  values = fread(file, n, ['*', precision]);
  if numel(values) ~= n
    error('%s: only %d of %d numbers could be read', name, numel(values), n);
  end
end

function values = read_rows(folder, name, width, n, precision)
  values = reshape(read_numbers(folder, name, width * n, precision), width, n).';
end

% Counted from 1, as Octave counts.
function order = read_order(folder, setup)
  order = read_numbers(folder, 'order.bin', setup.order, 'int64');
  bad = find(order < 0 | order >= setup.rows, 1);
  if ~isempty(bad)
    error('order.bin: entry %d is %d: row numbers lie in [0, %d)', bad - 1, order(bad), setup.rows);
  end
  order = double(order) + 1;
end

function write_numbers(folder, name, values)
  [file, reason] = fopen([folder, '/', name], 'w', 'ieee-le');
  if file < 0
    error('%s: %s', name, reason);
  end
  written = fwrite(file, values, class(values));
  if fclose(file) ~= 0 || written ~= numel(values)
    error('%s: could not be written in full', name);
  end
end

% --- Work. ------------------------------------------------------------------------------------------------------------

% Does what was asked for and has been checked; the fields of the reply.
function [session, fields] = perform(session, folder, functions, request)
  fields = cell(0, 2);
  switch request.name
    case 'forward'
      Y = functions.outputs(session.net, session.data, request.first + 1, request.count);
      write_numbers(folder, 'outputs.bin', Y.');
    case 'gradient'
      [R, dW, db] = functions.loss_and_gradient(session.net, session.data, request.first + 1, request.count);
      write_numbers(folder, 'gradient.bin', pack(dW, db));
      fields = {'loss', digits17(R)};
    case 'train'
      [session.net, fields] = timed_train(session, functions, request);
    case 'time'
      fields = timed_passes(session, functions, request);
    case 'theta'
      write_numbers(folder, 'theta_out.bin', pack(session.net.W, session.net.b));
    case 'reset'
      session.net.W = session.start.W;
      session.net.b = session.start.b;
  end
end

function [net, fields] = timed_train(session, functions, request)
  net = session.net;
  batch = min(request.batch, request.count);
  start = tic();
  net = functions.train(net, session.data, request.first + 1, request.count, batch, request.rate);
  fields = {'seconds', digits17(toc(start))};
end

function fields = timed_passes(session, functions, request)
  net = session.net;
  data = session.data;
  places = rows(data.x) - request.count + 1;
  checksum = 0;
  first = request.first;
  start = tic();
  for repeat = 1:request.repeats
    checksum = checksum + functions.timed_pass(net, data, request.operation, first + 1, request.count);
    first = mod(first + request.count, places);
  end
  fields = {'seconds', digits17(toc(start)); 'checksum', digits17(checksum)};
end

function fields = greeting()
  fields = {
    'protocol', '1'; 'name', 'octave'; 'language', 'Octave';
    'compiler', ['GNU Octave ', version()];
    'flags', ['--norc; BLAS: ', strtrim(version('-blas'))];
    'activations', 'identity,sigmoid,tanh,relu';
    'losses', 'squared_error,half_squared_error,softmax_cross_entropy,sigmoid_cross_entropy';
    'arithmetic', 'native'; 'deterministic', 'yes';
    'clock', 'tic/toc (time of day, in microseconds)'};
end

% The session that is there after a command, and the fields of the reply.
function [session, fields] = answer(session, folder, functions, request)
  fields = cell(0, 2);
  switch request.name
    case 'hello'
      fields = greeting();
    case 'init'
      session = make_session(folder, functions);
      fields = {'threads', sprintf('%d', session.threads)};
    case 'quit'
      % converse says so
    otherwise
      if isempty(session)
        error('%s: no network yet: init comes first', request.name);
      end
      if isfield(request, 'first')
        check_request(request, session.data);
      end
      [session, fields] = perform(session, folder, functions, request);
  end
end

% Replies to a line, unless it is blank; the session that is there afterwards, and whether the line was `quit`.
function [session, over] = converse(session, folder, functions, line)
  over = false;
  try
    words = words_of(line);
    if ~isempty(words)
      request = parse_request(words);
      [session, fields] = answer(session, folder, functions, request);
      reply('ok', fields);
      over = strcmp(request.name, 'quit');
    end
  catch problem
    kind = [regexp(problem.identifier, '^pyfnn:(\w+)$', 'tokens', 'once'), {'invalid'}]{1};
    reply('error', {'kind', kind; 'message', problem.message});
  end
end

% No text at the end of input. Not fgetl, which looks for one more character after the line, and so waits for the next.
function line = next_line()
  try
    line = input('', 's');
  catch
    line = [];
  end
end

page_screen_output(false);
warning('off', 'all');
folder = argv(){end};
functions = mlp();
session = [];
line = next_line();
while ischar(line)
  [session, over] = converse(session, folder, functions, line);
  if over
    break
  end
  line = next_line();
end
