# A worker that knows nothing but the protocol: plain Perl, no modules beyond its own distribution.
# It computes in double and keeps theta in double (arithmetic=float64); only what leaves it has the network's dtype.
use strict;
use warnings;
use POSIX ();
use Time::HiRes ();

my $workdir = pop @ARGV;
my (%net, @sizes, @f, @start, @theta, @x, @y, @order);    # x and y: lists of rows; theta: flat
$| = 1;

sub slurp {
    my ($name, $type) = @_;
    open my $file, '<:raw', "$workdir/$name" or die "$name: $!\n";
    local $/;
    return unpack "$type*", <$file>;
}

sub dump_to {
    my ($name, $values) = @_;
    open my $file, '>:raw', "$workdir/$name" or die "$name: $!\n";
    print $file pack "$net{type}*", @$values;
    close $file or die "$name: $!\n";
}

sub rows_of { my ($width, @flat) = @_; return map { [splice @flat, 0, $width] } 1 .. @flat / $width }

sub init {
    open my $file, '<', "$workdir/network.txt" or die "network.txt: $!\n";
    %net = map { /^(\S+)\s*(.*)$/ } <$file>;
    $net{type} = $net{dtype} eq 'float32' ? 'f<' : 'd<';
    @sizes = split ' ', $net{sizes};
    @f     = (split(' ', $net{activations}), $net{output_activation});
    @start = @theta = slurp('theta.bin', $net{type});
    @x     = rows_of($sizes[0],  slurp('x.bin', $net{type}));
    @y     = rows_of($sizes[-1], slurp('y.bin', $net{type}));
    @order = slurp('order.bin', 'q<');
    return "threads=1";
}

sub apply {    # A = f(Z)
    my ($name, @z) = @_;
    return map { $_ > 0 ? $_ : 0 } @z if $name eq 'relu';
    return map { POSIX::tanh($_) } @z if $name eq 'tanh';
    return map { my $e = exp(-abs $_); ($_ >= 0 ? 1 : $e) / (1 + $e) } @z if $name eq 'sigmoid';
    return @z if $name eq 'identity';
    my ($top) = sort { $b <=> $a } @z;    # softmax
    my @e = map { exp($_ - $top) } @z;
    my $sum = 0;
    $sum += $_ for @e;
    return map { $_ / $sum } @e;
}

sub slope {    # f'(Z), from A
    my ($name, $a) = @_;
    return $name eq 'relu' ? ($a > 0) + 0 : $name eq 'tanh' ? 1 - $a * $a : $name eq 'sigmoid' ? $a * (1 - $a) : 1;
}

sub forward {    # (Z_L, [A_0 .. A_L]) of one row
    my @A  = ($_[0]);
    my $at = 0;
    my @z;
    for my $l (0 .. $#f) {
        my ($in, $out) = @sizes[$l, $l + 1];
        @z = @theta[$at + $in * $out .. $at + $in * $out + $out - 1];
        for my $i (0 .. $in - 1) { $z[$_] += $A[$l][$i] * $theta[$at + $i * $out + $_] for 0 .. $out - 1 }
        $at += ($in + 1) * $out;
        push @A, [apply($f[$l], @z)];
    }
    return (\@z, @A);
}

sub row_loss {
    my ($z, $y, $t) = @_;
    my ($loss, $sum) = (0, 0);
    my ($top) = sort { $b <=> $a } @$z;
    $sum += exp($_ - $top) for @$z;
    for my $j (0 .. $#$t) {
        my ($zj, $tj, $d) = ($z->[$j], $t->[$j], $y->[$j] - $t->[$j]);
        $loss += $net{loss} eq 'squared_error' ? $d * $d
            : $net{loss} eq 'half_squared_error'    ? $d * $d / 2
            : $net{loss} eq 'softmax_cross_entropy' ? $tj * (log($sum) + $top - $zj)
            :                                         ($zj > 0 ? $zj : 0) - $zj * $tj + POSIX::log1p(exp(-abs $zj));
    }
    return $loss;
}

sub gradient {    # (R, dtheta...) over the rows given
    my @dtheta = (0) x @theta;
    my $loss   = 0;
    for my $row (@_) {
        my ($z, @A) = forward($x[$row]);
        my $t = $y[$row];
        $loss += row_loss($z, $A[-1], $t) / @_;
        my $c     = $net{loss} eq 'squared_error' ? 2 : 1;
        my @delta = map { $c * ($A[-1][$_] - $t->[$_]) / @_ } 0 .. $#$t;
        if ($net{loss} !~ /cross/) { $delta[$_] *= slope($f[-1], $A[-1][$_]) for 0 .. $#delta }
        my $at = @theta;
        for my $l (reverse 0 .. $#f) {
            my ($in, $out) = @sizes[$l, $l + 1];
            $at -= ($in + 1) * $out;
            my @below = (0) x $in;
            for my $i (0 .. $in - 1) {
                for my $j (0 .. $out - 1) {
                    $dtheta[$at + $i * $out + $j] += $A[$l][$i] * $delta[$j];
                    $below[$i] += $delta[$j] * $theta[$at + $i * $out + $j];
                }
            }
            $dtheta[$at + $in * $out + $_] += $delta[$_] for 0 .. $out - 1;
            @delta = map { $below[$_] * slope($f[$l - 1], $A[$l][$_]) } 0 .. $in - 1 if $l > 0;
        }
    }
    my $at = 0;
    for my $l (0 .. $#f) {
        for my $i ($at .. $at + $sizes[$l] * $sizes[$l + 1] - 1) {
            $dtheta[$i] += $net{l2} * $theta[$i];
            $loss += $net{l2} / 2 * $theta[$i]**2;
        }
        $at += ($sizes[$l] + 1) * $sizes[$l + 1];
    }
    return ($loss, @dtheta);
}

sub now { return Time::HiRes::clock_gettime(Time::HiRes::CLOCK_MONOTONIC()) }

sub train {
    my ($first, $count, $batch, $rate) = @_;
    my $start = now();
    for (my $at = $first; $at < $first + $count; $at += $batch) {
        my $end = $at + $batch < $first + $count ? $at + $batch : $first + $count;
        my (undef, @dtheta) = gradient(@order[$at .. $end - 1]);
        $theta[$_] -= $rate * $dtheta[$_] for 0 .. $#theta;
    }
    return 'seconds=' . (now() - $start);
}

sub time_passes {
    my ($operation, $first, $count, $repeats) = @_;
    my ($checksum, $start) = (0, now());
    for my $r (0 .. $repeats - 1) {
        my $s    = ($first + $r * $count) % (@x - $count + 1);
        my @rows = $s .. $s + $count - 1;
        if ($operation eq 'forward') {
            my @Y = map { (forward($x[$_]))[-1] } @rows;
            $checksum += $Y[0][0] + $Y[-1][-1];
        } else {
            my ($loss, @dtheta) = gradient(@rows);
            $checksum += $loss + $dtheta[0];
        }
    }
    return sprintf "seconds=%.9g\tchecksum=%.17g", now() - $start, $checksum;
}

my %commands = (
    hello => sub {
        join "\t", 'protocol=1', 'name=foreign', 'language=Perl', "compiler=perl $^V", 'flags=',
            'activations=identity,sigmoid,tanh,relu', 'arithmetic=float64', 'deterministic=yes', 'clock=CLOCK_MONOTONIC',
            'losses=squared_error,half_squared_error,softmax_cross_entropy,sigmoid_cross_entropy';
    },
    init    => \&init,
    forward => sub { dump_to('outputs.bin', [map { @{(forward($x[$_]))[-1]} } $_[0] .. $_[0] + $_[1] - 1]); '' },
    gradient => sub {
        my ($loss, @dtheta) = gradient($_[0] .. $_[0] + $_[1] - 1);
        dump_to('gradient.bin', \@dtheta);
        sprintf 'loss=%.17g', $loss;
    },
    train => \&train,
    time  => \&time_passes,
    theta => sub { dump_to('theta_out.bin', \@theta); '' },
    reset => sub { @theta = @start; '' },
);

while (my $line = <STDIN>) {
    my ($name, @words) = split ' ', $line;
    last if $name eq 'quit';
    my $fields = eval { ($commands{$name} or die "unknown command $name\n")->(@words) };
    (my $message = $@) =~ s/[\n\t%]/ /g;
    print defined $fields ? join("\t", 'ok', $fields ne '' ? $fields : ()) : "error\tmessage=$message", "\n";
}
print "ok\n";
