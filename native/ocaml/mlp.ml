(* mlp.ml: a feed-forward network: products, forward, output delta, backward, update. Nothing here checks an argument or
   reads a clock, and a step allocates no array. functions.ml has the activations and losses, worker.ml the protocol.

   Arrays are flat, row by row. OCaml checks each index against the length of its array, and reads that length anew
   after each store. Loops therefore read what they need before they store, and take several rows at a time. *)

open Functions

(* ---- The two products of a step. --------------------------------------------------------------------------------- *)

(* The next five compute C += A B. A: (m, k), B: (k, n), C: (m, n); A[i][p] is a.(i * row + p * column): the strides let
   the same loops read A transposed. *)

(* Rows i .. i + 3 of C, from four rows of B, the first of them p: each row of B serves four rows of C. *)
let add_four_rows i p n (a : vector) row column (b : vector) (c : vector) =
  let r0 = (i * row) + (p * column) in
  let r1 = r0 + row and r2 = r0 + (2 * row) and r3 = r0 + (3 * row) in
  let a00 = a.(r0) and a01 = a.(r0 + column) and a02 = a.(r0 + (2 * column)) and a03 = a.(r0 + (3 * column)) in
  let a10 = a.(r1) and a11 = a.(r1 + column) and a12 = a.(r1 + (2 * column)) and a13 = a.(r1 + (3 * column)) in
  let a20 = a.(r2) and a21 = a.(r2 + column) and a22 = a.(r2 + (2 * column)) and a23 = a.(r2 + (3 * column)) in
  let a30 = a.(r3) and a31 = a.(r3 + column) and a32 = a.(r3 + (2 * column)) and a33 = a.(r3 + (3 * column)) in
  let p0 = p * n and c0 = i * n in
  let p1 = p0 + n and p2 = p0 + (2 * n) and p3 = p0 + (3 * n) in
  let c1 = c0 + n and c2 = c0 + (2 * n) and c3 = c0 + (3 * n) in
  for j = 0 to n - 1 do
    let b0 = b.(p0 + j) and b1 = b.(p1 + j) and b2 = b.(p2 + j) and b3 = b.(p3 + j) in
    c.(c0 + j) <- c.(c0 + j) +. (a00 *. b0) +. (a01 *. b1) +. (a02 *. b2) +. (a03 *. b3);
    c.(c1 + j) <- c.(c1 + j) +. (a10 *. b0) +. (a11 *. b1) +. (a12 *. b2) +. (a13 *. b3);
    c.(c2 + j) <- c.(c2 + j) +. (a20 *. b0) +. (a21 *. b1) +. (a22 *. b2) +. (a23 *. b3);
    c.(c3 + j) <- c.(c3 + j) +. (a30 *. b0) +. (a31 *. b1) +. (a32 *. b2) +. (a33 *. b3)
  done

(* The same from row p of B alone. *)
let add_row_to_four i p n (a : vector) row column (b : vector) (c : vector) =
  let r0 = (i * row) + (p * column) in
  let a0 = a.(r0) and a1 = a.(r0 + row) and a2 = a.(r0 + (2 * row)) and a3 = a.(r0 + (3 * row)) in
  let p0 = p * n and c0 = i * n in
  let c1 = c0 + n and c2 = c0 + (2 * n) and c3 = c0 + (3 * n) in
  for j = 0 to n - 1 do
    let b = b.(p0 + j) in
    c.(c0 + j) <- c.(c0 + j) +. (a0 *. b);
    c.(c1 + j) <- c.(c1 + j) +. (a1 *. b);
    c.(c2 + j) <- c.(c2 + j) +. (a2 *. b);
    c.(c3 + j) <- c.(c3 + j) +. (a3 *. b)
  done

(* Row i of C, from four rows of B. *)
let add_rows i p n (a : vector) row column (b : vector) (c : vector) =
  let r0 = (i * row) + (p * column) in
  let a0 = a.(r0) and a1 = a.(r0 + column) and a2 = a.(r0 + (2 * column)) and a3 = a.(r0 + (3 * column)) in
  let p0 = p * n and c0 = i * n in
  let p1 = p0 + n and p2 = p0 + (2 * n) and p3 = p0 + (3 * n) in
  for j = 0 to n - 1 do
    c.(c0 + j) <-
      c.(c0 + j) +. (a0 *. b.(p0 + j)) +. (a1 *. b.(p1 + j)) +. (a2 *. b.(p2 + j)) +. (a3 *. b.(p3 + j))
  done

let add_row i p n (a : vector) row column (b : vector) (c : vector) =
  let a = a.((i * row) + (p * column)) in
  for j = 0 to n - 1 do
    c.((i * n) + j) <- c.((i * n) + j) +. (a *. b.((p * n) + j))
  done

let add_product m k n a row column b c =
  for q = 0 to (m / 4) - 1 do
    for r = 0 to (k / 4) - 1 do
      add_four_rows (4 * q) (4 * r) n a row column b c
    done;
    for p = k land lnot 3 to k - 1 do
      add_row_to_four (4 * q) p n a row column b c
    done
  done;
  for i = m land lnot 3 to m - 1 do
    for r = 0 to (k / 4) - 1 do
      add_rows i (4 * r) n a row column b c
    done;
    for p = k land lnot 3 to k - 1 do
      add_row i p n a row column b c
    done
  done

(* The product of the m numbers from i in a, and from p in b. *)
let dot m (a : vector) i (b : vector) p =
  let sum = ref 0. in
  for j = 0 to m - 1 do
    sum := !sum +. (a.(i + j) *. b.(p + j))
  done;
  !sum

(* c[at .. at + 3] = the products of the m numbers from i in a with four rows of b, the first of which begins at p. Four
   sums: in a single one, each addition would wait for the one before it. *)
let four_dots m (a : vector) i (b : vector) p (c : vector) at =
  let p1 = p + m and p2 = p + (2 * m) and p3 = p + (3 * m) in
  let sum0 = ref 0. and sum1 = ref 0. and sum2 = ref 0. and sum3 = ref 0. in
  for j = 0 to m - 1 do
    let a = a.(i + j) in
    sum0 := !sum0 +. (a *. b.(p + j));
    sum1 := !sum1 +. (a *. b.(p1 + j));
    sum2 := !sum2 +. (a *. b.(p2 + j));
    sum3 := !sum3 +. (a *. b.(p3 + j))
  done;
  c.(at) <- !sum0;
  c.(at + 1) <- !sum1;
  c.(at + 2) <- !sum2;
  c.(at + 3) <- !sum3

(* ---- The network and its workspace. ------------------------------------------------------------------------------ *)

type layer = {
  inputs : int; (* m_{l-1} *)
  outputs : int; (* m_l *)
  f : activation;
  p : float; (* the parameter of f *)
  w : vector; (* (inputs, outputs) *)
  dw : vector;
  b : vector; (* (outputs) *)
  db : vector;
  mutable z : vector; (* (capacity, outputs), and so are a and delta *)
  mutable a : vector;
  mutable delta : vector;
}

type model = {
  layers : layer array;
  loss : loss;
  l2 : float;
  start : vector; (* theta at init: W_1 row by row, b_1, W_2, ... *)
  x_data : vector; (* (rows, m_0) *)
  y_data : vector; (* (rows, m_L) *)
  order : int array; (* row numbers *)
  mutable capacity : int; (* rows *)
  mutable x : vector; (* (capacity, m_0), (capacity, m_L): the rows of a step *)
  mutable t : vector;
}

let zeros n : vector = Array.make n 0.
let last model = model.layers.(Array.length model.layers - 1)
let n_inputs model = model.layers.(0).inputs
let n_outputs model = (last model).outputs

(* Make room for `count` rows: the only allocation of x, t, z, a and delta. *)
let reserve model count =
  if count > model.capacity then begin
    let rooms = Array.map (fun layer -> Array.init 3 (fun _ -> zeros (count * layer.outputs))) model.layers in
    model.x <- zeros (count * n_inputs model);
    model.t <- zeros (count * n_outputs model);
    let fit layer room =
      layer.z <- room.(0);
      layer.a <- room.(1);
      layer.delta <- room.(2)
    in
    Array.iter2 fit model.layers rooms;
    model.capacity <- count
  end

let reset model =
  let take place (row : vector) =
    Array.blit model.start place row 0 (Array.length row);
    place + Array.length row
  in
  ignore (Array.fold_left (fun place layer -> take (take place layer.w) layer.b) 0 model.layers)

let theta model = Array.concat (List.concat_map (fun layer -> [ layer.w; layer.b ]) (Array.to_list model.layers))
let gradient model = Array.concat (List.concat_map (fun layer -> [ layer.dw; layer.db ]) (Array.to_list model.layers))

(* sizes: m_0 .. m_L; functions: f_1 .. f_L with their parameters, f_L the one that the loss fuses, if any. *)
let create sizes functions loss l2 start x_data y_data order =
  let layer l (f, p) =
    let inputs = sizes.(l) and outputs = sizes.(l + 1) in
    let w = zeros (inputs * outputs) and dw = zeros (inputs * outputs) in
    { inputs; outputs; f; p; w; dw; b = zeros outputs; db = zeros outputs; z = [||]; a = [||]; delta = [||] }
  in
  let layers = Array.mapi layer functions in
  let model = { layers; loss; l2; start; x_data; y_data; order; capacity = 0; x = [||]; t = [||] } in
  reset model;
  model

(* ---- The step on B = batch rows: X: (B, m_0), T: (B, m_L); Z, A, delta of layer l: (B, m_l). -------------------- *)

(* Z_l = A_{l-1} W_l + b_l, A_l = f_l(Z_l) for l = 1 .. L. *)
let forward model batch =
  let a_below = ref model.x in
  for l = 0 to Array.length model.layers - 1 do
    let { inputs; outputs; f; p; w; b; z; a; _ } = model.layers.(l) in
    for n = 0 to batch - 1 do
      Array.blit b 0 z (n * outputs) outputs
    done;
    add_product batch inputs outputs !a_below inputs 1 w z;
    f.value batch outputs z a p;
    a_below := a
  done

(* delta_L = dR/dZ_L. *)
let output_delta model batch =
  let { outputs; f; p; z; a = y; delta; _ } = last model and t = model.t in
  let scale = model.loss.derivative /. float_of_int batch in
  for j = 0 to (batch * outputs) - 1 do
    delta.(j) <- scale *. (y.(j) -. t.(j))
  done;
  if Option.is_none model.loss.fuses then f.derivative batch outputs z y delta p

(* delta_{l-1} = f_{l-1}'(Z_{l-1}) * (delta_l W_l^T), from a layer to the one below. *)
let propagate layer below batch =
  let { inputs; outputs; w; delta; _ } = layer in
  let { f; p; z; a; delta = delta_below; _ } = below in
  for n = 0 to batch - 1 do
    for q = 0 to (inputs / 4) - 1 do
      four_dots outputs delta (n * outputs) w (4 * q * outputs) delta_below ((n * inputs) + (4 * q))
    done;
    for i = inputs land lnot 3 to inputs - 1 do
      delta_below.((n * inputs) + i) <- dot outputs delta (n * outputs) w (i * outputs)
    done
  done;
  f.derivative batch inputs z a delta_below p

(* dW = l2 W. Written out, as `descend` is: each turn of a loop also asks whether the collector waits. *)
let decay l2 (w : vector) (dw : vector) =
  let n = Array.length dw in
  for q = 0 to (n / 4) - 1 do
    let j = 4 * q in
    let w0 = w.(j) and w1 = w.(j + 1) and w2 = w.(j + 2) and w3 = w.(j + 3) in
    dw.(j) <- l2 *. w0;
    dw.(j + 1) <- l2 *. w1;
    dw.(j + 2) <- l2 *. w2;
    dw.(j + 3) <- l2 *. w3
  done;
  for j = n land lnot 3 to n - 1 do
    dw.(j) <- l2 *. w.(j)
  done

(* From delta_L down: dW and db of every layer. W and b do not change. *)
let backward model batch =
  for l = Array.length model.layers - 1 downto 0 do
    let { inputs; outputs; w; dw; db; delta; _ } = model.layers.(l) in
    let a_below = if l > 0 then model.layers.(l - 1).a else model.x in
    decay model.l2 w dw;
    add_product inputs batch outputs a_below 1 inputs delta dw;
    Array.fill db 0 outputs 0.;
    for n = 0 to batch - 1 do
      for j = 0 to outputs - 1 do
        db.(j) <- db.(j) +. delta.((n * outputs) + j)
      done
    done;
    if l > 0 then propagate model.layers.(l) model.layers.(l - 1) batch
  done

let descend (theta : vector) (gradient : vector) rate =
  let n = Array.length theta in
  for q = 0 to (n / 4) - 1 do
    let j = 4 * q in
    let t0 = theta.(j) -. (rate *. gradient.(j)) and t1 = theta.(j + 1) -. (rate *. gradient.(j + 1)) in
    let t2 = theta.(j + 2) -. (rate *. gradient.(j + 2)) and t3 = theta.(j + 3) -. (rate *. gradient.(j + 3)) in
    theta.(j) <- t0;
    theta.(j + 1) <- t1;
    theta.(j + 2) <- t2;
    theta.(j + 3) <- t3
  done;
  for j = n land lnot 3 to n - 1 do
    theta.(j) <- theta.(j) -. (rate *. gradient.(j))
  done

(* theta <- theta - rate * gradient. *)
let update model rate =
  for l = 0 to Array.length model.layers - 1 do
    let { w; dw; b; db; _ } = model.layers.(l) in
    descend w dw rate;
    descend b db rate
  done

(* R of the last forward pass. *)
let loss model batch =
  let { outputs; z; a; _ } = last model and sum = ref 0. and squares = ref 0. in
  for n = 0 to batch - 1 do
    sum := !sum +. model.loss.value outputs (n * outputs) z a model.t
  done;
  for l = 0 to Array.length model.layers - 1 do
    let { w; _ } = model.layers.(l) in
    squares := !squares +. dot (Array.length w) w 0 w 0
  done;
  (!sum /. float_of_int batch) +. (model.l2 /. 2. *. !squares)

(* ---- The functions that the worker calls, and the minibatch. ----------------------------------------------------- *)

(* Compute the outputs of rows [first, first + count) into the last layer's a. *)
let outputs model first count =
  let m = n_inputs model in
  Array.blit model.x_data (first * m) model.x 0 (count * m);
  forward model count

(* Return R of rows [first, first + count), and compute its gradient. *)
let loss_and_gradient model first count =
  let m = n_outputs model in
  Array.blit model.y_data (first * m) model.t 0 (count * m);
  outputs model first count;
  output_delta model count;
  backward model count;
  loss model count

(* Copy the rows that order[first .. first + batch) names to x and t. *)
let gather model first batch =
  let inputs = n_inputs model and outputs = n_outputs model in
  for n = 0 to batch - 1 do
    let row = model.order.(first + n) in
    Array.blit model.x_data (row * inputs) model.x (n * inputs) inputs;
    Array.blit model.y_data (row * outputs) model.t (n * outputs) outputs
  done

(* Take one step for each minibatch of order[first .. first + count). *)
let train model first count batch_size rate =
  let at = ref first and stop = first + count in
  while !at < stop do
    let batch = if batch_size < stop - !at then batch_size else stop - !at in
    gather model !at batch;
    forward model batch;
    output_delta model batch;
    backward model batch;
    update model rate;
    at := !at + batch
  done

(* Return the array that holds an entry of the outputs, or of the gradient laid out as theta, and its index there. It
   stays there until the next `reserve`. *)
let place model ~of_forward entry =
  let rec find l entry =
    let { dw; db; _ } = model.layers.(l) in
    if entry < Array.length dw then (dw, entry)
    else if entry < Array.length dw + Array.length db then (db, entry - Array.length dw)
    else find (l + 1) (entry - Array.length dw - Array.length db)
  in
  if of_forward then ((last model).a, entry) else find 0 entry

(* Do one pass of the command `time`; return its addend to the checksum. *)
let timed_pass model ~of_forward first count ((numbers : vector), index) =
  if of_forward then begin
    outputs model first count;
    numbers.(index)
  end
  else
    let loss = loss_and_gradient model first count in
    loss +. numbers.(index)
