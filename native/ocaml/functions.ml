(* functions.ml: activations and losses. Nothing here checks an argument or allocates an array.

   OCaml's only type of real numbers is double, and so arrays are of doubles for every dtype. They are flat, row by row.
   Values begin with a lower-case letter in OCaml: z, a, y, t are the Z, A, Y, T of the formulas. *)

type vector = float array

(* ---- Activations of `batch` rows: A = f(Z). Z, A: (batch, m); p: the parameter. ---------------------------------- *)

let identity batch m (z : vector) (a : vector) _ = Array.blit z 0 a 0 (batch * m)

let sigmoid batch m (z : vector) (a : vector) _ =
  for j = 0 to (batch * m) - 1 do
    a.(j) <- 1. /. (1. +. exp (-.z.(j)))
  done

let tanh_value batch m (z : vector) (a : vector) _ =
  for j = 0 to (batch * m) - 1 do
    a.(j) <- tanh z.(j)
  done

(* In these comparisons, NaN stays NaN. *)

let relu batch m (z : vector) (a : vector) _ =
  for j = 0 to (batch * m) - 1 do
    a.(j) <- (if z.(j) < 0. then 0. else z.(j))
  done

let leaky_relu batch m (z : vector) (a : vector) p =
  for j = 0 to (batch * m) - 1 do
    a.(j) <- (if z.(j) > 0. then z.(j) else p *. z.(j))
  done

let elu batch m (z : vector) (a : vector) p =
  for j = 0 to (batch * m) - 1 do
    a.(j) <- (if z.(j) > 0. then z.(j) else p *. expm1 z.(j))
  done

(* log(1 + exp(z)), without overflow. *)
let softplus batch m (z : vector) (a : vector) _ =
  for j = 0 to (batch * m) - 1 do
    a.(j) <- (if z.(j) < 0. then 0. else z.(j)) +. log1p (exp (-.abs_float z.(j)))
  done

let hard_sigmoid batch m (z : vector) (a : vector) _ =
  for j = 0 to (batch * m) - 1 do
    a.(j) <- (if z.(j) <= -2. then 0. else if z.(j) >= 2. then 1. else (z.(j) /. 4.) +. 0.5)
  done

let hard_tanh batch m (z : vector) (a : vector) _ =
  for j = 0 to (batch * m) - 1 do
    a.(j) <- (if z.(j) < -1. then -1. else if z.(j) > 1. then 1. else z.(j))
  done

(* The largest of the m numbers of a row, which begins at `row`. *)
let largest m (z : vector) row =
  let top = ref z.(row) in
  for j = row + 1 to row + m - 1 do
    if z.(j) > !top then top := z.(j)
  done;
  !top

(* The sum of exp(z - top) over a row. *)
let sum_of_exp m (z : vector) row top =
  let sum = ref 0. in
  for j = row to row + m - 1 do
    sum := !sum +. exp (z.(j) -. top)
  done;
  !sum

let softmax batch m (z : vector) (a : vector) _ =
  for n = 0 to batch - 1 do
    let top = largest m z (n * m) in
    let sum = sum_of_exp m z (n * m) top in
    for j = n * m to (n * m) + m - 1 do
      a.(j) <- exp (z.(j) -. top) /. sum
    done
  done

(* Derivatives: delta <- f'(Z) delta, where A = f(Z). *)

let identity_derivative _ _ _ _ _ _ = ()

let sigmoid_derivative batch m _ (a : vector) (delta : vector) _ =
  for j = 0 to (batch * m) - 1 do
    delta.(j) <- delta.(j) *. a.(j) *. (1. -. a.(j))
  done

let tanh_derivative batch m _ (a : vector) (delta : vector) _ =
  for j = 0 to (batch * m) - 1 do
    delta.(j) <- delta.(j) *. (1. -. (a.(j) *. a.(j)))
  done

let relu_derivative batch m _ (a : vector) (delta : vector) _ =
  for j = 0 to (batch * m) - 1 do
    if not (a.(j) > 0.) then delta.(j) <- 0.
  done

let leaky_relu_derivative batch m (z : vector) _ (delta : vector) p =
  for j = 0 to (batch * m) - 1 do
    if not (z.(j) > 0.) then delta.(j) <- p *. delta.(j)
  done

(* p exp(z) = p (exp(z) - 1) + p = a + p. *)
let elu_derivative batch m (z : vector) (a : vector) (delta : vector) p =
  for j = 0 to (batch * m) - 1 do
    if not (z.(j) > 0.) then delta.(j) <- (a.(j) +. p) *. delta.(j)
  done

let softplus_derivative batch m (z : vector) _ (delta : vector) _ =
  for j = 0 to (batch * m) - 1 do
    delta.(j) <- delta.(j) /. (1. +. exp (-.z.(j)))
  done

let hard_sigmoid_derivative batch m (z : vector) _ (delta : vector) _ =
  for j = 0 to (batch * m) - 1 do
    delta.(j) <- (if abs_float z.(j) < 2. then delta.(j) /. 4. else 0.)
  done

let hard_tanh_derivative batch m (z : vector) _ (delta : vector) _ =
  for j = 0 to (batch * m) - 1 do
    if not (abs_float z.(j) < 1.) then delta.(j) <- 0.
  done

type activation = {
  name : string;
  value : int -> int -> vector -> vector -> float -> unit; (* batch m z a p *)
  derivative : int -> int -> vector -> vector -> vector -> float -> unit; (* batch m z a delta p *)
  elementwise : bool; (* false: it is only used fused with a loss *)
  parameter : float option; (* in the table, if none is given; None: it takes none *)
}

let elementwise ?parameter name value derivative = { name; value; derivative; elementwise = true; parameter }

let activations =
  [
    elementwise "identity" identity identity_derivative;
    elementwise "sigmoid" sigmoid sigmoid_derivative;
    elementwise "tanh" tanh_value tanh_derivative;
    elementwise "relu" relu relu_derivative;
    elementwise "leaky_relu" leaky_relu leaky_relu_derivative ~parameter:0.01;
    elementwise "elu" elu elu_derivative ~parameter:1.;
    elementwise "softplus" softplus softplus_derivative;
    elementwise "hard_sigmoid" hard_sigmoid hard_sigmoid_derivative;
    elementwise "hard_tanh" hard_tanh hard_tanh_derivative;
    { name = "softmax"; value = softmax; derivative = identity_derivative; elementwise = false; parameter = None };
  ]

(* ---- Losses: L of the row of m numbers that begins at `row`, from Z = Z_L, Y = A_L and the targets T. ------------ *)

let squared_error m row _ (y : vector) (t : vector) =
  let sum = ref 0. in
  for j = row to row + m - 1 do
    sum := !sum +. ((y.(j) -. t.(j)) *. (y.(j) -. t.(j)))
  done;
  !sum

let half_squared_error m row z y t = squared_error m row z y t /. 2.

(* -sum t log softmax(z) = sum t (log sum exp z - z), with the largest z subtracted before each exp. *)
let softmax_cross_entropy m row (z : vector) _ (t : vector) =
  let top = largest m z row in
  let log_sum = log (sum_of_exp m z row top) and loss = ref 0. in
  for j = row to row + m - 1 do
    loss := !loss +. (t.(j) *. (log_sum -. (z.(j) -. top)))
  done;
  !loss

(* -t log sigmoid(z) - (1-t) log(1 - sigmoid(z)) = max(z, 0) - z t + log(1 + exp(-|z|)). *)
let sigmoid_cross_entropy m row (z : vector) _ (t : vector) =
  let loss = ref 0. in
  for j = row to row + m - 1 do
    let positive = if z.(j) < 0. then 0. else z.(j) in
    loss := !loss +. positive -. (z.(j) *. t.(j)) +. log1p (exp (-.abs_float z.(j)))
  done;
  !loss

type loss = {
  name : string;
  fuses : string option; (* the only output activation it takes; None: it takes any elementwise one *)
  value : int -> int -> vector -> vector -> vector -> float; (* m row z y t *)
  derivative : float; (* c in dL/dy = c (y - t); where an activation is fused, in dL/dz = c (y - t) *)
}

let losses =
  [
    { name = "squared_error"; fuses = None; value = squared_error; derivative = 2. };
    { name = "half_squared_error"; fuses = None; value = half_squared_error; derivative = 1. };
    { name = "softmax_cross_entropy"; fuses = Some "softmax"; value = softmax_cross_entropy; derivative = 1. };
    { name = "sigmoid_cross_entropy"; fuses = Some "sigmoid"; value = sigmoid_cross_entropy; derivative = 1. };
  ]
