(* setup.ml: the files of WORKDIR: network.txt, read and checked, and arrays of raw numbers. *)

open Functions

exception Refusal of string * string (* kind, message: the reply to a command that cannot be carried out *)

let refuse kind format = Printf.ksprintf (fun message -> raise (Refusal (kind, message))) format
let invalid format = refuse "invalid" format

(* ---- Words and numbers. ------------------------------------------------------------------------------------------ *)

let is_space c = c = ' ' || ('\t' <= c && c <= '\r')

let words_of line =
  let spaced = String.map (fun c -> if is_space c then ' ' else c) line in
  List.filter (( <> ) "") (String.split_on_char ' ' spaced)

let is_digit c = '0' <= c && c <= '9'
let is_sign c = c = '+' || c = '-'

(* Return the place after the characters from `place` on that `accepts` accepts. *)
let rec after accepts word place =
  if place < String.length word && accepts word.[place] then after accepts word (place + 1) else place

let after_one accepts word place = if place < String.length word && accepts word.[place] then place + 1 else place

(* Return a whole number, or None. One beyond the numbers of an int becomes the largest or smallest of them. The
   characters are looked at first, because int_of_string takes 0x10 and 1_000 too. *)
let whole word =
  let start = after_one is_sign word 0 in
  let digits = String.sub word start (String.length word - start) in
  if digits = "" || after is_digit digits 0 < String.length digits then None
  else
    let size = Option.value (int_of_string_opt digits) ~default:max_int in
    Some (if word.[0] = '-' then -size else size)

(* Return a number such as 3, -0.5, .5 or 1e-3, or None. *)
let real word =
  let start = after_one is_sign word 0 in
  let point = after is_digit word start in
  let decimals = after_one (( = ) '.') word point in
  let mantissa = after is_digit word decimals in
  let n_digits = mantissa - start - (decimals - point) in
  let e = after_one (fun c -> c = 'e' || c = 'E') word mantissa in
  let exponent = if e > mantissa then after_one is_sign word e else e in
  let stop = if e > mantissa then after is_digit word exponent else e in
  let complete = n_digits > 0 && stop = String.length word && (e = mantissa || stop > exponent) in
  if complete then float_of_string_opt word else None

let is_finite x = Float.is_finite x

(* Products and sums of sizes, refused where an int cannot hold them. *)

let product a b = if b > 0 && a > max_int / b then invalid "%d times %d are too many numbers" a b else a * b
let sum a b = if a > max_int - b then invalid "%d and %d are too many numbers" a b else a + b

(* ---- Files of numbers. ------------------------------------------------------------------------------------------- *)

type dtype = Float32 | Float64

let width = function Float32 -> 4 | Float64 -> 8

let read_file folder name check_length =
  let channel = open_in_bin (Filename.concat folder name) in
  let read () =
    let length = in_channel_length channel in
    check_length length;
    let bytes = Bytes.create length in
    really_input channel bytes 0 length;
    bytes
  in
  Fun.protect ~finally:(fun () -> close_in channel) read

(* Read a file that holds exactly `count` numbers of `width` bytes. *)
let read_items folder name count width =
  let expected = product count width in
  let check found = if found <> expected then invalid "%s has %d bytes: must have %d" name found expected in
  read_file folder name check

let number_at dtype bytes place =
  match dtype with
  | Float32 -> Int32.float_of_bits (Bytes.get_int32_le bytes (4 * place))
  | Float64 -> Int64.float_of_bits (Bytes.get_int64_le bytes (8 * place))

let read_numbers folder name count dtype : vector =
  let bytes = read_items folder name count (width dtype) in
  Array.init count (number_at dtype bytes)

(* Read the numbers of entries, counted from 0, of something that has `stop` entries. *)
let read_entries folder name count stop =
  let bytes = read_items folder name count 8 in
  let entry_at place =
    let entry = Bytes.get_int64_le bytes (8 * place) in
    if Int64.compare entry 0L < 0 || Int64.compare entry (Int64.of_int stop) >= 0 then
      invalid "%s: entry %d is %Ld: must lie in [0, %d)" name place entry stop;
    Int64.to_int entry
  in
  Array.init count entry_at

let write_numbers folder name dtype (numbers : vector) =
  let bytes = Bytes.create (width dtype * Array.length numbers) in
  let set place number =
    match dtype with
    | Float32 -> Bytes.set_int32_le bytes (4 * place) (Int32.bits_of_float number)
    | Float64 -> Bytes.set_int64_le bytes (8 * place) (Int64.bits_of_float number)
  in
  Array.iteri set numbers;
  let channel = open_out_bin (Filename.concat folder name) in
  let write () =
    output_bytes channel bytes;
    flush channel
  in
  Fun.protect ~finally:(fun () -> close_out_noerr channel) write

(* ---- network.txt. ------------------------------------------------------------------------------------------------ *)

type t = {
  sizes : int array; (* m_0 .. m_L *)
  functions : (activation * float) array; (* f_1 .. f_L, with their parameters *)
  loss : loss;
  l2 : float;
  dtype : dtype;
  rows : int;
  order : int; (* its number of entries *)
}

let values lines key =
  match List.find_opt (fun words -> List.hd words = key) lines with
  | Some words -> List.tl words
  | None -> invalid "network.txt has no line %s" key

let value lines key =
  match values lines key with
  | [ word ] -> word
  | words -> invalid "network.txt: %s has %d values, not 1" key (List.length words)

let size key word =
  match whole word with
  | Some size when size >= 1 -> size
  | _ -> invalid "network.txt: %s: %S must be a whole number, at least 1" key word

let loss_of lines =
  let name = value lines "loss" in
  match List.find_opt (fun (loss : loss) -> loss.name = name) losses with
  | Some loss -> loss
  | None -> refuse "unsupported" "ocaml has no loss %S" name

let dtype_of lines =
  match value lines "dtype" with
  | "float32" -> Float32
  | "float64" -> Float64
  | other -> refuse "unsupported" "ocaml has no dtype %S" other

let l2_of lines =
  let word = value lines "l2" in
  match real word with
  | Some l2 when l2 >= 0. && is_finite l2 -> l2
  | _ -> invalid "network.txt: l2: %S must be finite, 0 or more" word

(* Return the name and the parameter, if there is one, of "name" or "name(parameter)". *)
let split_function text =
  match String.index_opt text '(' with
  | Some open_at when text.[String.length text - 1] = ')' ->
      (String.sub text 0 open_at, Some (String.sub text (open_at + 1) (String.length text - open_at - 2)))
  | _ -> (text, None)

(* Return the row of "name" or "name(parameter)" and its parameter. fused: a loss fuses it. *)
let function_of ~fused text =
  let name, written = split_function text in
  let row = List.find_opt (fun (f : activation) -> f.name = name && (f.elementwise || fused)) activations in
  match (row, written) with
  | Some f, None -> (f, Option.value f.parameter ~default:0.)
  | Some f, Some word when f.parameter <> None -> (
      match real word with
      | Some p when is_finite p -> (f, p)
      | _ -> refuse "unsupported" "ocaml has no activation %S: its parameter must be finite" text)
  | _ -> refuse "unsupported" "ocaml has no activation %S" text

(* Return f_1 .. f_L with their parameters. *)
let functions_of lines n_layers (loss : loss) =
  let hidden = values lines "activations" and output = value lines "output_activation" in
  if List.length hidden <> n_layers - 1 then
    invalid "network.txt: activations: %d for %d hidden layers" (List.length hidden) (n_layers - 1);
  let fused = Option.is_some loss.fuses in
  if fused && loss.fuses <> Some output then
    invalid "network.txt: output_activation %S: another one is fused with %s" output loss.name;
  Array.of_list (List.map (function_of ~fused:false) hidden @ [ function_of ~fused output ])

let read folder =
  let text = Bytes.to_string (read_file folder "network.txt" ignore) in
  let lines = List.filter (( <> ) []) (List.map words_of (String.split_on_char '\n' text)) in
  let sizes = Array.of_list (List.map (size "sizes") (values lines "sizes")) in
  if Array.length sizes < 2 then invalid "network.txt: sizes: at least two are needed";
  ignore (size "threads" (value lines "threads")); (* checked, then not used: the network has one thread *)
  let loss = loss_of lines and number key = size key (value lines key) in
  let functions = functions_of lines (Array.length sizes - 1) loss in
  { sizes; functions; loss; l2 = l2_of lines; dtype = dtype_of lines; rows = number "rows"; order = number "order" }

let n_parameters { sizes; _ } =
  let layer l = product (sum sizes.(l) 1) sizes.(l + 1) in
  List.fold_left sum 0 (List.init (Array.length sizes - 1) layer)

let load folder setup : Mlp.model =
  let { sizes; functions; loss; l2; dtype; rows; order } = setup in
  let theta = read_numbers folder "theta.bin" (n_parameters setup) dtype in
  let x = read_numbers folder "x.bin" (product rows sizes.(0)) dtype in
  let y = read_numbers folder "y.bin" (product rows sizes.(Array.length sizes - 1)) dtype in
  Mlp.create sizes functions loss l2 theta x y (read_entries folder "order.bin" order rows)
