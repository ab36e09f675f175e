# A worker that knows nothing but the protocol: plain Perl, no modules beyond its own distribution.
# It computes in double and keeps theta in double (arithmetic=float64); files that it writes have the network's dtype.
use strict;
use warnings;
use POSIX ();
use Time::HiRes ();

my $workdir = pop @ARGV;
my (%net, @sizes, @f, @start, @theta, @x, @y, @order);    # x and y: lists of rows; theta: flat; none before init
$| = 1;

my @activations = qw(identity sigmoid tanh relu);
my @losses      = qw(squared_error half_squared_error softmax_cross_entropy sigmoid_cross_entropy);
my $whole       = qr/(\d{1,15})/;                                        # 15 digits: sums stay exact
my $real        = qr/((?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?)/;

sub unsupported { die {kind => 'unsupported', message => "no $_[0]"} }

sub slurp {    # read $n numbers of a type: exactly the file's contents
    my ($name, $type, $n) = @_;
    open my $file, '<:raw', "$workdir/$name" or die "$name: $!\n";
    my ($size, $wanted) = (-s $file, $n * length pack $type, 0);
    die "$name has $size bytes: $n numbers take $wanted\n" if $size != $wanted;
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

my %lines = (    # of network.txt: the pattern of each value
    sizes => qr/[1-9]\d*(?: [1-9]\d*)+/,
    activations => qr/.*/, output_activation => qr/\S+/, loss => qr/\S+/,
    l2 => $real, dtype => qr/float(?:32|64)/,
    rows => qr/[1-9]\d*/, order => qr/[1-9]\d*/, threads => qr/[1-9]\d*/,
);

sub read_network {
    open my $file, '<', "$workdir/network.txt" or die "network.txt: $!\n";
    my %read = map { /^(\S+) ?(.*)$/ } <$file>;
    for my $key (sort keys %lines) {
        die "network.txt has no line $key\n" unless defined $read{$key};
        die "network.txt: $key $read{$key}\n" unless $read{$key} =~ /^$lines{$key}$/;
    }
    my ($loss) = grep { $_ eq $read{loss} } @losses or unsupported("loss $read{loss}");
    my $fused = $loss =~ /^(softmax|sigmoid)_cross/ ? $1 : '';
    for my $name (split(' ', $read{activations}), $fused ? () : $read{output_activation}) {
        grep { $_ eq $name } @activations or unsupported("activation $name");
    }
    die "network.txt: output_activation $read{output_activation}\n" if $fused && $fused ne $read{output_activation};
    return (%read, type => $read{dtype} eq 'float32' ? 'f<' : 'd<');
}

sub init {    # reads and checks everything before it replaces anything
    my %new   = read_network();
    my @m     = split ' ', $new{sizes};
    my @names = (split(' ', $new{activations}), $new{output_activation});
    die "network.txt: sizes and activations do not go together\n" if @names != $#m;
    my $n = 0;
    $n += ($m[$_ - 1] + 1) * $m[$_] for 1 .. $#m;
    my @read = (
        [slurp('theta.bin', $new{type}, $n)],
        [rows_of($m[0],  slurp('x.bin', $new{type}, $new{rows} * $m[0]))],
        [rows_of($m[-1], slurp('y.bin', $new{type}, $new{rows} * $m[-1]))],
        [slurp('order.bin', 'q<', $new{order})],
    );
    for my $row (@{$read[3]}) { die "order.bin: no row $row\n" if $row < 0 || $row >= $new{rows} }
    %net = %new;
    @sizes = @m;
    @f     = @names;
    @start = @theta = @{$read[0]};
    @x     = @{$read[1]};
    @y     = @{$read[2]};
    @order = @{$read[3]};
    return "threads=1";
}

sub within {    # dies unless [$first, $first + $count) lies in [0, $of)
    my ($first, $count, $of) = @_;
    die "no model yet: init comes first\n" unless @theta;
    die "FIRST $first COUNT $count: there are $of\n" if $count < 1 || $first + $count > $of;
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

sub derivative {    # f'(Z), from A
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
        if ($net{loss} !~ /cross/) { $delta[$_] *= derivative($f[-1], $A[-1][$_]) for 0 .. $#delta }
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
            @delta = map { $below[$_] * derivative($f[$l - 1], $A[$l][$_]) } 0 .. $in - 1 if $l > 0;
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
    my ($operation, $first, $count, $repeats, @probes) = @_;
    my ($checksum, $start) = (0, now());
    for my $r (0 .. $repeats - 1) {
        my $s    = ($first + $r * $count) % (@x - $count + 1);
        my @rows = $s .. $s + $count - 1;
        my $probe = $probes[$r % @probes];
        if ($operation eq 'forward') {
            my @Y = map { (forward($x[$_]))[-1] } @rows;
            $checksum += $Y[$probe / $sizes[-1]][$probe % $sizes[-1]];
        } else {
            my ($loss, @dtheta) = gradient(@rows);
            $checksum += $loss + $dtheta[$probe];
        }
    }
    return sprintf "seconds=%.9g\tchecksum=%.17g", now() - $start, $checksum;
}

sub at_least_1 { my ($name, $value) = @_; die "$name $value: must be at least 1\n" if $value < 1 }

my %commands = (    # for each the pattern of its words, and its code
    hello => [qr//, sub {
        join "\t", 'protocol=1', 'name=foreign', 'language=Perl', "compiler=perl $^V", 'flags=',
            'activations=' . join(',', @activations), 'losses=' . join(',', @losses),
            'arithmetic=float64', 'deterministic=yes', 'clock=CLOCK_MONOTONIC';
    }],
    init    => [qr//, \&init],
    forward => [qr/$whole $whole/, sub {
        my ($first, $count) = @_;
        within($first, $count, scalar @x);
        dump_to('outputs.bin', [map { @{(forward($x[$_]))[-1]} } $first .. $first + $count - 1]);
        return '';
    }],
    gradient => [qr/$whole $whole/, sub {
        my ($first, $count) = @_;
        within($first, $count, scalar @x);
        my ($loss, @dtheta) = gradient($first .. $first + $count - 1);
        dump_to('gradient.bin', \@dtheta);
        return sprintf 'loss=%.17g', $loss;
    }],
    train => [qr/$whole $whole $whole $real/, sub {
        my ($first, $count, $batch, $rate) = @_;
        within($first, $count, scalar @order);
        at_least_1(BATCH => $batch);
        die "RATE $rate: must be finite and above 0\n" unless $rate > 0 && $rate < 9**9**9;
        return train(@_);
    }],
    time => [qr/(forward|gradient) $whole $whole $whole $whole/, sub {
        my ($operation, $first, $count, $repeats, $n) = @_;
        within($first, $count, scalar @x);
        at_least_1(REPEATS => $repeats);
        at_least_1(PROBES => $n);
        my @probes  = slurp('probes.bin', 'q<', $n);
        my $entries = $operation eq 'forward' ? $count * $sizes[-1] : @theta;
        for my $probe (@probes) { die "probes.bin: no entry $probe\n" if $probe < 0 || $probe >= $entries }
        return time_passes($operation, $first, $count, $repeats, @probes);
    }],
    theta => [qr//, sub { within(0, 1, scalar @theta); dump_to('theta_out.bin', \@theta); return '' }],
    reset => [qr//, sub { within(0, 1, scalar @theta); @theta = @start; return '' }],
);

sub answer {
    my ($name, $words) = @_;
    my ($takes, $do) = @{$commands{$name} or die "unknown command $name\n"};
    my @words = $words =~ /^$takes$/ or die "$name does not take '$words'\n";
    return $do->(@words);
}

while (my $line = <STDIN>) {
    my ($name, $words) = $line =~ /^(\S+) ?(.*?)\s*$/ or next;
    last if $name eq 'quit';
    my $fields = eval { answer($name, $words) };
    my $error = ref $@ ? $@ : {message => $@};
    chomp $error->{message};
    $error->{message} =~ s/([\n\r\t%])/sprintf '%%%02X', ord $1/ge;
    print defined $fields
        ? join("\t", 'ok', $fields ne '' ? $fields : ())
        : join("\t", 'error', map { "$_=$error->{$_}" } sort keys %$error), "\n";
}
print "ok\n";
