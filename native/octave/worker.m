% worker.m: the worker protocol for mlp.m: commands, files, checks, replies and the clock; no mathematics.
% Run as: octave-cli worker.m WORKDIR. docs/add-a-language.md defines the arguments and the reply of each command.

1; % makes this file a script: one that starts with a function would define only that function

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

function table = usages()
  table = {{'hello'}, {'init'}, {'quit'}, {'theta'}, {'reset'}, {'forward', 'FIRST', 'COUNT'}, ...
           {'gradient', 'FIRST', 'COUNT'}, {'train', 'FIRST', 'COUNT', 'BATCH', 'RATE'}, ...
           {'time', 'forward|gradient', 'FIRST', 'COUNT', 'REPEATS', 'PROBES'}};
end

% Parsing is not timed, but a run waits for it: the built-in regexp takes a tenth of the time of strsplit.
function words = words_of(line)
  words = regexp(line, '\S+', 'match');
end

% Convert a command to a struct: name, operation, first, count, ...
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

% parameters: the command and the names of its arguments. Returns an empty array if a word is not valid.
function request = take_words(words, parameters)
  request = struct('name', words{1});
  valid = numel(words) == numel(parameters);
  for i = 2:numel(words)
    if ~valid
      break
    elseif strcmp(parameters{i}, 'forward|gradient')
      request.operation = words{i};
      valid = any(strcmp(words{i}, {'forward', 'gradient'}));
    elseif strcmp(parameters{i}, 'RATE')
      [request.rate, valid] = real_number(words{i});
    else
      [request.(lower(parameters{i})), valid] = whole_number(words{i});
    end
  end
  if ~valid
    request = [];
  end
end

% The pattern excludes other words that str2double accepts ("1e1", "1,2", "i"). A double is exact up to 2^53.
function [value, valid] = whole_number(word)
  value = str2double(word);
  valid = ~isempty(regexp(word, '^[+-]?\d+$', 'once')) && abs(value) <= flintmax();
end

function [value, valid] = real_number(word)
  value = str2double(word);
  valid = ~isempty(regexp(word, '^[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?$', 'once'));
end

function check_request(request, data)
  length = rows(data.x);
  unit = 'rows';
  if strcmp(request.name, 'train')
    length = numel(data.order);
    unit = 'entries of order';
  end
  if request.first < 0 || request.count < 1 || request.first + request.count > length
    error('FIRST = %d, COUNT = %d: must lie within the %d %s', request.first, request.count, length, unit);
  end
  for key = {'batch', 'repeats', 'probes'}
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
  bytes(bytes > 127) = '?'; % of lines with unknown keys: all others are ASCII
  lines = strsplit(char(bytes), "\n");
end

% Return the words after a key. n, if given: their required number.
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

% --- The session: a struct of net, data, start (the W and b of init) and threads. -------------------------------------

function session = make_session(folder, functions)
  setup = read_setup(folder);
  precisions = struct('float32', 'single', 'float64', 'double');
  if ~isfield(precisions, setup.dtype)
    error('pyfnn:unsupported', 'octave has no dtype ''%s''', setup.dtype);
  end
  precision = precisions.(setup.dtype);
  session.net = make_net(setup, functions);
  theta = read_numbers(folder, 'theta.bin', sum((setup.sizes(1:end-1) + 1) .* setup.sizes(2:end)), precision);
  [session.net.W, session.net.b] = unpack(theta, setup.sizes);
  session.start = struct('W', {session.net.W}, 'b', {session.net.b});
  session.data.x = read_rows(folder, 'x.bin', setup.sizes(1), setup.rows, precision);
  session.data.y = read_rows(folder, 'y.bin', setup.sizes(end), setup.rows, precision);
  session.data.order = read_entries(folder, 'order.bin', setup.order, setup.rows);
  session.threads = blas_threads();
end

function net = make_net(setup, functions)
  net.loss_function = row_of(functions.losses, setup.loss);
  if isempty(net.loss_function)
    error('pyfnn:unsupported', 'octave has no loss ''%s''', setup.loss);
  end
  net.l2 = setup.l2;
  for l = 1:numel(setup.activations)
    name = setup.activations{l};
    fused = l == numel(setup.activations) && ~isempty(net.loss_function.fuses);
    if fused && ~strcmp(name, net.loss_function.fuses)
      error('network.txt: output_activation ''%s'': %s is fused with %s', name, setup.loss, net.loss_function.fuses);
    end
    activation = activation_of(functions.activations, name);
    if isempty(activation) || (~fused && isempty(activation.derivative))
      error('pyfnn:unsupported', 'octave has no activation ''%s''', name);
    end
    net.f{l} = activation.value;
    net.derivative{l} = activation.derivative;
  end
end

% Return the row of 'name' or 'name(parameter)', its functions bound to the parameter, or an empty array.
function row = activation_of(table, text)
  parts = regexp(text, '^(\w+)\((\S+)\)$', 'tokens', 'once');
  if isempty(parts)
    row = row_of(table, text);
  else
    row = row_of(table, parts{1});
  end
  if isempty(row) || (isempty(parts) && isempty(row.parameter))
    return;
  end
  p = row.parameter;
  if ~isempty(parts)
    [p, valid] = real_number(parts{2});
    if ~(valid && isfinite(p)) || isempty(row.parameter)
      row = [];
      return;
    end
  end
  [value, derivative] = deal(row.value, row.derivative);
  row.value = @(Z) value(Z, p);
  row.derivative = @(Z, A, delta) derivative(Z, A, delta, p);
end

% Return the row of a table, or an empty array.
function row = row_of(table, name)
  row = table(strcmp({table.name}, name));
end

% theta holds each W_l row by row; Octave stores it by columns.
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

% Return the number of threads that BLAS uses. BLAS read these variables when it was loaded; Octave has no function that
% gets or sets the number.
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
  found = ftell(file);
  expected = n * bytes.(precision);
  if found ~= expected
    error('%s has %d bytes: %d numbers of %s take %d', name, found, n, precision, expected);
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

% Read the numbers of entries of something that has `stop` entries: counted from 0 in the file, from 1 in the result.
function entries = read_entries(folder, name, n, stop)
  entries = read_numbers(folder, name, n, 'int64');
  bad = find(entries < 0 | entries >= stop, 1);
  if ~isempty(bad)
    error('%s: entry %d is %d: must lie in [0, %d)', name, bad - 1, entries(bad), stop);
  end
  entries = double(entries) + 1;
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

% Run a checked request and return the fields of its reply.
function [session, fields] = run_command(session, folder, functions, request)
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
      fields = timed_passes(session, folder, functions, request);
    case 'theta'
      write_numbers(folder, 'theta_out.bin', pack(session.net.W, session.net.b));
    case 'reset'
      session.net.W = session.start.W;
      session.net.b = session.start.b;
  end
end

% The wall clock and the CPU time of the process, all threads.
function start = read_clocks()
  start.cpu = cputime();
  start.wall = tic();
end

% The seconds since the reading, as fields of a reply.
function fields = elapsed(start)
  seconds = toc(start.wall);
  fields = {'seconds', digits17(seconds); 'cpu_seconds', digits17(cputime() - start.cpu)};
end

function [net, fields] = timed_train(session, functions, request)
  net = session.net;
  batch = min(request.batch, request.count);
  start = read_clocks();
  net = functions.train(net, session.data, request.first + 1, request.count, batch, request.rate);
  fields = elapsed(start);
end

function fields = timed_passes(session, folder, functions, request)
  net = session.net;
  data = session.data;
  places = rows(data.x) - request.count + 1;
  if strcmp(request.operation, 'forward')
    shapes = {zeros(request.count, columns(data.y))};
  else
    shapes = [net.W; net.b](:).'; % of the tensors of the gradient, W_1, b_1, ...
  end
  probes = probed(shapes, read_entries(folder, 'probes.bin', request.probes, sum(cellfun(@numel, shapes))));
  n_probes = rows(probes);
  p = 1;
  checksum = 0;
  first = request.first;
  start = read_clocks();
  for repeat = 1:request.repeats
    checksum = checksum + functions.timed_pass(net, data, request.operation, first + 1, request.count, probes(p, :));
    first = mod(first + request.count, places);
    p = p + 1;
    if p > n_probes
      p = 1;
    end
  end
  fields = [elapsed(start); {'checksum', digits17(checksum)}];
end

% Return for each entry the number of its tensor and its index there: (n, 2). entries: counted from 1, the tensors one
% after the other and each row by row; Octave's indices go by columns.
function places = probed(tensors, entries)
  ends = cumsum(cellfun(@numel, tensors));
  places = zeros(numel(entries), 2);
  for i = 1:numel(entries)
    t = find(entries(i) <= ends, 1);
    at = entries(i) - ends(t) + numel(tensors{t}) - 1;
    [height, width] = size(tensors{t});
    places(i, :) = [t, mod(at, width) * height + floor(at / width) + 1];
  end
end

function fields = hello(functions)
  elementwise = ~cellfun(@isempty, {functions.activations.derivative});
  fields = {
    'protocol', '1'; 'name', 'octave'; 'language', 'Octave';
    'compiler', ['GNU Octave ', version()];
    'flags', ['--norc; BLAS: ', strtrim(version('-blas'))];
    'activations', strjoin({functions.activations(elementwise).name}, ',');
    'losses', strjoin({functions.losses.name}, ',');
    'arithmetic', 'native'; 'deterministic', 'yes';
    'clock', 'tic/toc (time of day, in microseconds)'};
end

% Run a request and return the session after it and the fields of its reply.
function [session, fields] = answer(session, folder, functions, request)
  fields = cell(0, 2);
  switch request.name
    case 'hello'
      fields = hello(functions);
    case 'init'
      session = make_session(folder, functions);
      fields = {'threads', sprintf('%d', session.threads)};
    case 'quit'
      % `converse` ends the loop after the reply
    otherwise
      if isempty(session)
        error('%s: no network yet: send init first', request.name);
      end
      if isfield(request, 'first')
        check_request(request, session.data);
      end
      [session, fields] = run_command(session, folder, functions, request);
  end
end

% Reply to a line that is not blank. over: true after `quit`.
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

% Return the next line, or an empty array at the end of input. fgetl would wait for the next line, because it reads one
% character more.
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
