(* worker.ml: the worker protocol: commands from stdin, replies to stdout, the clock. setup.ml reads the files, mlp.ml
   has the network. Run as: fnn WORKDIR. *)

open Setup

external wall_seconds : unit -> (float[@unboxed]) = "fnn_no_bytecode" "fnn_wall_seconds" [@@noalloc]
external cpu_seconds : unit -> (float[@unboxed]) = "fnn_no_bytecode" "fnn_cpu_seconds" [@@noalloc]

let folder = if Array.length Sys.argv = 2 then Sys.argv.(1) else (prerr_endline "usage: fnn WORKDIR"; exit 2)

type session = { setup : Setup.t; model : Mlp.model }

let session = ref None (* of the last init that succeeded *)
let loaded () = match !session with Some session -> session | None -> invalid "no network yet: send init first"

(* ---- Checks that several commands share. ------------------------------------------------------------------------- *)

let number name word = match whole word with Some n -> n | None -> invalid "%s: %S is no whole number" name word

let at_least_1 name word =
  let n = number name word in
  if n < 1 then invalid "%s = %s: must be at least 1" name word;
  n

(* Return FIRST and COUNT of a range within `length` rows or entries. *)
let range first count length unit =
  let first = number "FIRST" first and count = at_least_1 "COUNT" count in
  if first < 0 || count > length || first > length - count then
    invalid "FIRST = %d, COUNT = %d: must lie within the %d %s" first count length unit;
  (first, count)

(* ---- Commands. Each returns the fields of its reply. ------------------------------------------------------------- *)

let digits17 = Printf.sprintf "%.17g"

let hello () =
  let names = String.concat "," in
  let elementwise = List.filter (fun (f : Functions.activation) -> f.elementwise) Functions.activations in
  [
    ("protocol", "1");
    ("name", "ocaml");
    ("language", "OCaml");
    ("compiler", "ocamlopt " ^ Sys.ocaml_version);
    ("flags", Flags.text);
    ("activations", names (List.map (fun (f : Functions.activation) -> f.name) elementwise));
    ("losses", names (List.map (fun (loss : Functions.loss) -> loss.name) Functions.losses));
    ("arithmetic", "float64");
    ("deterministic", "yes");
    ("clock", "clock_gettime(CLOCK_MONOTONIC)");
  ]

let init () =
  let setup = Setup.read folder in
  session := Some { setup; model = Setup.load folder setup };
  [ ("threads", "1") ]

(* Return the session with room for a pass over these rows, FIRST and COUNT. *)
let prepared first count =
  let { setup; model } = loaded () in
  let first, count = range first count setup.rows "rows" in
  Mlp.reserve model count;
  (setup, model, first, count)

let forward first count =
  let setup, model, first, count = prepared first count in
  Mlp.outputs model first count;
  write_numbers folder "outputs.bin" setup.dtype (Array.sub (Mlp.last model).a 0 (count * Mlp.n_outputs model));
  []

let gradient first count =
  let setup, model, first, count = prepared first count in
  let loss = Mlp.loss_and_gradient model first count in
  write_numbers folder "gradient.bin" setup.dtype (Mlp.gradient model);
  [ ("loss", digits17 loss) ]

(* Run `work` between two readings of the clocks; return the times as fields. *)
let timed work =
  let cpu = cpu_seconds () in
  let start = wall_seconds () in
  work ();
  let seconds = wall_seconds () -. start in
  [ ("seconds", digits17 seconds); ("cpu_seconds", digits17 (cpu_seconds () -. cpu)) ]

let train first count batch rate =
  let { setup; model } = loaded () in
  let first, count = range first count setup.order "entries of order" in
  let batch = min (at_least_1 "BATCH" batch) count in
  match real rate with
  | Some rate when rate > 0. && is_finite rate ->
      Mlp.reserve model batch;
      timed (fun () -> Mlp.train model first count batch rate)
  | _ -> invalid "RATE = %S: must be finite and above 0" rate

let time operation first count repeats probes =
  let of_forward = operation = "forward" in
  if not (of_forward || operation = "gradient") then invalid "%S: must be forward or gradient" operation;
  let setup, model, first, count = prepared first count in
  let repeats = at_least_1 "REPEATS" repeats and n_probes = at_least_1 "PROBES" probes in
  let entries = if of_forward then count * Mlp.n_outputs model else n_parameters setup in
  let probes = Array.map (Mlp.place model ~of_forward) (read_entries folder "probes.bin" n_probes entries) in
  let checksum = ref 0. and places = setup.rows - count + 1 in
  let passes () =
    let at = ref first and probe = ref 0 in
    for _ = 1 to repeats do
      checksum := !checksum +. Mlp.timed_pass model ~of_forward !at count probes.(!probe);
      at := (!at + count) mod places;
      probe := if !probe + 1 < n_probes then !probe + 1 else 0
    done
  in
  let fields = timed passes in
  fields @ [ ("checksum", digits17 !checksum) ]

let theta () =
  let { setup; model } = loaded () in
  write_numbers folder "theta_out.bin" setup.dtype (Mlp.theta model);
  []

let reset () =
  Mlp.reset (loaded ()).model;
  []

let answer words =
  match words with
  | [ "hello" ] -> hello ()
  | [ "init" ] -> init ()
  | [ "forward"; first; count ] -> forward first count
  | [ "gradient"; first; count ] -> gradient first count
  | [ "train"; first; count; batch; rate ] -> train first count batch rate
  | [ "time"; operation; first; count; repeats; probes ] -> time operation first count repeats probes
  | [ "theta" ] -> theta ()
  | [ "reset" ] -> reset ()
  | [ "quit" ] -> []
  | _ ->
      let known =
        "hello; init; forward FIRST COUNT; gradient FIRST COUNT; train FIRST COUNT BATCH RATE; time forward|gradient \
         FIRST COUNT REPEATS PROBES; theta; reset; quit"
      in
      invalid "%S: the commands are %s" (String.concat " " words) known

(* ---- Replies. ---------------------------------------------------------------------------------------------------- *)

let encoded text =
  let encode = function '%' -> "%25" | '\t' -> "%09" | '\n' -> "%0A" | '\r' -> "%0D" | c -> String.make 1 c in
  String.concat "" (List.map encode (List.of_seq (String.to_seq text)))

let reply status fields =
  let field (key, text) = key ^ "=" ^ encoded text in
  print_string (String.concat "\t" (status :: List.map field fields));
  print_char '\n';
  flush stdout

let error kind message = reply "error" [ ("message", message); ("kind", kind) ]

let converse words =
  match answer words with
  | fields -> reply "ok" fields
  | exception Refusal (kind, message) -> error kind message
  | exception Sys_error reason -> error "invalid" reason
  | exception problem -> error "invalid" (Printexc.to_string problem)

(* Blocks of random sizes, so that arrays have other places in each process: memory layout alone changes step times. *)
let scattered =
  Random.self_init ();
  Array.init 128 (fun _ -> Bytes.create (Random.int 16384))

let rec serve () =
  match input_line stdin with
  | exception End_of_file -> ()
  | line ->
      let words = words_of line in
      if words <> [] then converse words;
      if words <> [ "quit" ] then serve ()

let () =
  serve ();
  ignore (Sys.opaque_identity scattered)
