# worker.R: the worker protocol for mlp.R: commands, files, checks, replies and the clock; no mathematics.
# Run as: Rscript worker.R FOLDER WORKDIR, where FOLDER has mlp.R. docs/add-a-language.md defines the commands.

# --- Replies. ---------------------------------------------------------------------------------------------------------

# Stop with an error reply of this kind.
refuse <- function(..., kind = "invalid")
  stop(structure(class = c("refusal", "error", "condition"), list(message = sprintf(...), call = NULL, kind = kind)))

encoded <- function(text) {
  for (escape in list(c("%", "%25"), c("\t", "%09"), c("\n", "%0A"), c("\r", "%0D"))) {
    text <- gsub(escape[[1]], escape[[2]], text, fixed = TRUE)
  }
  text
}

# fields: a named list of texts
reply <- function(status, fields) {
  words <- if (length(fields) > 0) paste0(names(fields), "=", vapply(fields, encoded, ""))
  cat(paste0(paste(c(status, words), collapse = "\t"), "\n"))
  flush(stdout())
}

digits17 <- function(value) if (is.na(value)) "nan" else sprintf("%.17g", value)

# --- Commands. --------------------------------------------------------------------------------------------------------

usages <- list(
  hello = character(), init = character(), quit = character(), theta = character(), reset = character(),
  forward = c("FIRST", "COUNT"), gradient = c("FIRST", "COUNT"), train = c("FIRST", "COUNT", "BATCH", "RATE"),
  time = c("forward|gradient", "FIRST", "COUNT", "REPEATS", "PROBES")
)

words_of <- function(line) {
  words <- strsplit(line, "[[:space:]]+")[[1]]
  words[words != ""]
}

# The patterns exclude other words that as.numeric accepts (0x10, 1L, NA, inf). A double is exact up to 2^53.
whole_number <- function(word) if (grepl("^[+-]?[0-9]+$", word)) as.numeric(word) else NA
real_number <- function(word)
  if (grepl("^[+-]?([0-9]+[.]?[0-9]*|[.][0-9]+)([eE][+-]?[0-9]+)?$", word)) as.numeric(word) else NA

# Convert a command to a list: name, OPERATION, FIRST, COUNT, ...
parse_request <- function(words) {
  name <- words[[1]]
  if (!name %in% names(usages)) {
    refuse("unknown command '%s'; known: %s", name, paste(names(usages), collapse = ", "))
  }
  parameters <- usages[[name]]
  usage <- paste(c(name, parameters), collapse = " ")
  if (length(words) != 1 + length(parameters)) {
    refuse("'%s': the command is '%s'", paste(words, collapse = " "), usage)
  }
  request <- list(name = name)
  for (i in seq_along(parameters)) {
    word <- words[[1 + i]]
    if (parameters[[i]] == "forward|gradient") {
      request$OPERATION <- value <- if (word %in% c("forward", "gradient")) word else NA
    } else {
      read <- if (parameters[[i]] == "RATE") real_number else whole_number
      request[[parameters[[i]]]] <- value <- read(word)
    }
    if (is.na(value)) {
      refuse("'%s' is no valid %s: the command is '%s'", word, parameters[[i]], usage)
    }
  }
  request
}

check_request <- function(request, data) {
  of_order <- request$name == "train"
  length <- if (of_order) length(data$order) else nrow(data$x)
  if (request$FIRST < 0 || request$COUNT < 1 || request$FIRST + request$COUNT > length) {
    unit <- if (of_order) "entries of order" else "rows"
    refuse("FIRST = %.0f, COUNT = %.0f: must lie within the %d %s", request$FIRST, request$COUNT, length, unit)
  }
  for (key in c("BATCH", "REPEATS", "PROBES")) {
    if (!is.null(request[[key]]) && request[[key]] < 1) {
      refuse("%s = %.0f: must be at least 1", key, request[[key]])
    }
  }
  if (!is.null(request$RATE) && !(is.finite(request$RATE) && request$RATE > 0)) {
    refuse("RATE = %g: must be finite and above 0", request$RATE)
  }
}

# --- network.txt. -----------------------------------------------------------------------------------------------------

# Return text with ? in place of bytes that are not ASCII or NUL.
ascii <- function(bytes) {
  bytes[bytes == as.raw(0) | bytes > as.raw(127)] <- charToRaw("?")
  rawToChar(bytes)
}

read_setup <- function(folder) {
  path <- file.path(folder, "network.txt")
  if (!file.exists(path)) {
    refuse("network.txt is missing")
  }
  lines <- lapply(strsplit(ascii(readBin(path, "raw", file.size(path))), "\n", fixed = TRUE)[[1]], words_of)
  sizes <- vapply(values_of(lines, "sizes"), size_of, 0, "sizes", USE.NAMES = FALSE)
  if (length(sizes) < 2) {
    refuse("network.txt: sizes: at least two are needed")
  }
  number <- function(key) size_of(values_of(lines, key, 1), key)
  number("threads") # checked, then not used: see blas_threads
  list(
    sizes = sizes,
    activations = c(values_of(lines, "activations", length(sizes) - 2), values_of(lines, "output_activation", 1)),
    loss = values_of(lines, "loss", 1), dtype = values_of(lines, "dtype", 1), l2 = l2_of(values_of(lines, "l2", 1)),
    rows = number("rows"), order = number("order")
  )
}

# Return the words after a key. n, if given: their required number.
values_of <- function(lines, key, n = NULL) {
  line <- Find(function(words) length(words) > 0 && words[[1]] == key, lines)
  if (is.null(line)) {
    refuse("network.txt has no line %s", key)
  }
  if (!is.null(n) && length(line) != 1 + n) {
    refuse("network.txt: %s: has %d values, not %d", key, length(line) - 1L, as.integer(n))
  }
  line[-1]
}

size_of <- function(word, key) {
  value <- whole_number(word)
  if (is.na(value) || value < 1 || value > .Machine$integer.max) {
    refuse("network.txt: %s = '%s': must be a whole number from 1 to %d", key, word, .Machine$integer.max)
  }
  value
}

l2_of <- function(word) {
  value <- real_number(word)
  if (is.na(value) || value < 0 || !is.finite(value)) {
    refuse("network.txt: l2 = '%s': must be finite, 0 or more", word)
  }
  value
}

# --- The session: a list of net, data, start (the W and b of init), width and threads. --------------------------------

make_session <- function(folder) {
  setup <- read_setup(folder)
  width <- c(float32 = 4, float64 = 8)[setup$dtype] # bytes
  if (is.na(width)) {
    refuse("r has no dtype '%s'", setup$dtype, kind = "unsupported")
  }
  sizes <- setup$sizes
  inputs <- sizes[-length(sizes)]
  outputs <- sizes[-1]
  net <- make_net(setup)
  start <- unpack(read_numbers(folder, "theta.bin", sum((inputs + 1) * outputs), width), inputs, outputs)
  net$W <- start$W
  net$b <- start$b
  data <- list(
    x = matrix(read_numbers(folder, "x.bin", setup$rows * inputs[[1]], width), setup$rows, byrow = TRUE),
    y = matrix(read_numbers(folder, "y.bin", setup$rows * sizes[[length(sizes)]], width), setup$rows, byrow = TRUE),
    order = read_entries(folder, "order.bin", setup$order, setup$rows)
  )
  list(net = net, data = data, start = start, width = width, threads = blas_threads())
}

make_net <- function(setup) {
  loss_function <- row_of(losses, setup$loss)
  if (is.null(loss_function)) {
    refuse("r has no loss '%s'", setup$loss, kind = "unsupported")
  }
  n <- length(setup$activations)
  fused <- loss_function$fuses
  if (!is.null(fused) && setup$activations[[n]] != fused) {
    refuse("network.txt: output_activation '%s': %s is fused with %s", setup$activations[[n]], setup$loss, fused)
  }
  find <- function(l) {
    row <- activation_of(setup$activations[[l]])
    if (is.null(row) || (is.null(row$derivative) && (l < n || is.null(fused)))) {
      refuse("r has no activation '%s'", setup$activations[[l]], kind = "unsupported")
    }
    row
  }
  rows <- lapply(seq_len(n), find)
  list(
    l2 = setup$l2, loss_function = loss_function,
    f = lapply(rows, `[[`, "value"), derivative = lapply(rows, `[[`, "derivative")
  )
}

# Return the row of a table, or NULL.
row_of <- function(table, name) Find(function(row) row$name == name, table)

# Return the row of "name" or "name(parameter)", its functions bound to the parameter, or NULL.
activation_of <- function(text) {
  parts <- regmatches(text, regexec("^([a-z_]+)\\((.+)\\)$", text))[[1]]
  row <- row_of(activations, if (length(parts) > 0) parts[[2]] else text)
  if (is.null(row) || (length(parts) == 0 && is.null(row$parameter))) {
    return(row)
  }
  p <- if (length(parts) > 0) real_number(parts[[3]]) else row$parameter
  if (is.null(row$parameter) || !is.finite(p)) {
    return(NULL)
  }
  value <- row$value
  derivative <- row$derivative
  row$value <- function(Z) value(Z, p)
  row$derivative <- function(Z, A, delta) derivative(Z, A, delta, p)
  row
}

# theta holds each W_l row by row; R stores it by columns.
unpack <- function(theta, inputs, outputs) {
  W <- b <- vector("list", length(inputs))
  at <- 0
  for (l in seq_along(inputs)) {
    n <- inputs[[l]] * outputs[[l]]
    W[[l]] <- matrix(theta[at + seq_len(n)], inputs[[l]], byrow = TRUE)
    b[[l]] <- theta[at + n + seq_len(outputs[[l]])]
    at <- at + n + outputs[[l]]
  }
  list(W = W, b = b)
}

pack <- function(W, b) unlist(Map(function(w, v) c(t(w), v), W, b))

# Return the number of threads that BLAS uses. BLAS read these variables when it was loaded; R has no function that gets
# or sets the number.
blas_threads <- function() {
  if (!grepl("openblas|mkl|blis|accelerate|atlas", extSoftVersion()[["BLAS"]], ignore.case = TRUE)) {
    return(1)
  }
  for (variable in c("OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "OMP_NUM_THREADS")) {
    n <- whole_number(Sys.getenv(variable))
    if (!is.na(n) && n >= 1) {
      return(n)
    }
  }
  parallel::detectCores()
}

# --- Files of numbers. ------------------------------------------------------------------------------------------------

# Return the path of a file that holds exactly n numbers of so many bytes.
checked_path <- function(folder, name, n, width) {
  path <- file.path(folder, name)
  if (!file.exists(path)) {
    refuse("%s is missing", name)
  }
  if (file.size(path) != n * width) {
    refuse("%s has %.0f bytes: %.0f numbers of %d bytes are needed", name, file.size(path), n, as.integer(width))
  }
  path
}

read_numbers <- function(folder, name, n, width) {
  values <- readBin(checked_path(folder, name, n, width), "double", n, size = width, endian = "little")
  if (length(values) != n) {
    refuse("%s: only %d of %.0f numbers could be read", name, length(values), n)
  }
  values
}

# Read the numbers of entries of something that has `stop` entries: counted from 0 in the file, from 1 in the result. R
# has no integers of 64 bits: the lower and upper halves are read as integers of 32, of which −2³¹ is NA.
read_entries <- function(folder, name, n, stop) {
  halves <- matrix(readBin(checked_path(folder, name, n, 8), "integer", 2 * n, endian = "little"), 2)
  low <- halves[1, ]
  good <- !is.na(halves[2, ]) & halves[2, ] == 0 & !is.na(low) & low >= 0 & low < stop
  if (!all(good)) {
    bad <- which(!good)[[1]]
    text <- "%s: entry %d, of the halves %d and %d: must lie in [0, %.0f)"
    refuse(text, name, bad - 1L, low[[bad]], halves[2, bad], stop)
  }
  low + 1
}

write_numbers <- function(folder, name, values, width) {
  path <- file.path(folder, name)
  writeBin(as.vector(values), path, size = width, endian = "little")
  if (file.size(path) != width * length(values)) {
    refuse("%s could not be written in full", name)
  }
}

# --- Work. ------------------------------------------------------------------------------------------------------------

# Return the result of an expression and its time as a field. There is no cpu_seconds: R's has steps of 1 ms.
timed <- function(expression) {
  start <- Sys.time()
  result <- expression
  stop <- Sys.time()
  list(result = result, fields = list(seconds = digits17(as.numeric(stop) - as.numeric(start))))
}

timed_passes <- function(session, folder, request) {
  net <- session$net
  data <- session$data
  count <- request$COUNT
  places <- nrow(data$x) - count + 1
  tensors <- if (request$OPERATION == "forward") {
    list(matrix(0, count, ncol(data$y)))
  } else {
    do.call(c, Map(list, net$W, net$b)) # W_1, b_1, W_2, ..., as those of the gradient
  }
  probes <- probed(tensors, read_entries(folder, "probes.bin", request$PROBES, sum(lengths(tensors))))
  passes <- function() {
    checksum <- 0
    first <- request$FIRST
    p <- 1
    for (r in seq_len(request$REPEATS)) {
      term <- timed_pass(net, data, request$OPERATION, first + 1, count, probes$tensor[[p]], probes$index[[p]])
      checksum <- checksum + term
      first <- (first + count) %% places
      p <- if (p < request$PROBES) p + 1 else 1
    }
    checksum
  }
  done <- timed(passes())
  c(done$fields, list(checksum = digits17(done$result)))
}

# Return for each entry the number of its tensor and its index there. entries: counted from 1, the tensors one after the
# other and each row by row; R's indices go by columns.
probed <- function(tensors, entries) {
  starts <- cumsum(c(0, lengths(tensors)))
  tensor <- findInterval(entries - 1, starts)
  at <- entries - 1 - starts[tensor]
  heights <- vapply(tensors, NROW, 0L)[tensor] # of a vector: its length, as of a matrix with one column
  widths <- vapply(tensors, NCOL, 0L)[tensor]
  list(tensor = tensor, index = (at %% widths) * heights + at %/% widths + 1)
}

hello <- function() {
  elementwise <- Filter(function(row) !is.null(row$derivative), activations)
  names_in <- function(table) paste(vapply(table, `[[`, "", "name"), collapse = ",")
  list(
    protocol = "1", name = "r", language = "R", compiler = R.version.string,
    flags = paste("--vanilla; BLAS:", basename(La_library())),
    activations = names_in(elementwise), losses = names_in(losses), arithmetic = "float64", deterministic = "yes",
    clock = "Sys.time (time of day)"
  )
}

# Run a request and return the session after it and the fields of its reply.
answer <- function(session, folder, request) {
  fields <- list()
  if (request$name == "hello") {
    fields <- hello()
  } else if (request$name == "init") {
    session <- make_session(folder)
    fields <- list(threads = sprintf("%.0f", session$threads))
  } else if (request$name != "quit") {
    if (is.null(session)) {
      refuse("%s: no network yet: send init first", request$name)
    }
    if (!is.null(request$FIRST)) {
      check_request(request, session$data)
    }
    done <- run_command(session, folder, request)
    session <- done$session
    fields <- done$fields
  }
  list(session = session, fields = fields)
}

# Run a checked request that needs a network.
run_command <- function(session, folder, request) {
  net <- session$net
  first <- request$FIRST + 1
  fields <- list()
  if (request$name == "forward") {
    write_numbers(folder, "outputs.bin", t(outputs(net, session$data, first, request$COUNT)), session$width)
  } else if (request$name == "gradient") {
    result <- loss_and_gradient(net, session$data, first, request$COUNT)
    write_numbers(folder, "gradient.bin", pack(result$dW, result$db), session$width)
    fields <- list(loss = digits17(result$R))
  } else if (request$name == "train") {
    batch <- min(request$BATCH, request$COUNT)
    done <- timed(train(net, session$data, first, request$COUNT, batch, request$RATE))
    session$net <- done$result
    fields <- done$fields
  } else if (request$name == "time") {
    fields <- timed_passes(session, folder, request)
  } else if (request$name == "theta") {
    write_numbers(folder, "theta_out.bin", pack(net$W, net$b), session$width)
  } else {
    session$net$W <- session$start$W
    session$net$b <- session$start$b
  }
  list(session = session, fields = fields)
}

# Return the next line, or NULL at the end of input. readLines would end it at a NUL.
next_line <- function(input) {
  bytes <- raw(256)
  n <- 0
  repeat {
    byte <- readBin(input, "raw", 1)
    if (length(byte) == 0 && n == 0) {
      return(NULL)
    }
    if (length(byte) == 0 || byte == as.raw(10)) {
      return(ascii(bytes[seq_len(n)]))
    }
    n <- n + 1
    if (n > length(bytes)) {
      bytes <- c(bytes, raw(n))
    }
    bytes[[n]] <- byte
  }
}

main <- function(folder) {
  input <- file("stdin", "rb")
  session <- NULL
  while (!is.null(line <- next_line(input))) {
    words <- words_of(line)
    if (length(words) == 0) next
    problem <- tryCatch({
      done <- answer(session, folder, parse_request(words))
      session <- done$session
      reply("ok", done$fields)
      NULL
    }, error = identity)
    if (!is.null(problem)) {
      kind <- if (inherits(problem, "refusal")) problem$kind else "invalid"
      reply("error", list(message = conditionMessage(problem), kind = kind))
    }
    if (identical(words, "quit")) break
  }
}

options(warn = -1)
arguments <- commandArgs(trailingOnly = TRUE)
source(file.path(arguments[[1]], "mlp.R"))
main(arguments[[2]])
