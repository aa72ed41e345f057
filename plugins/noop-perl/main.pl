# Echoes input_parameters as output_data, byte for byte.
use strict;
use warnings;

my $text = do { local $/; <STDIN> } // '';
pos($text) = 0;

# Skips one JSON value at pos($text); dies where there is none.
sub skip {
    my $depth = 0;
    do {
        $text =~ /\G[\s,:]*/gc;
        if    ( $text =~ /\G[\[{]/gc ) { $depth++ }
        elsif ( $text =~ /\G[\]}]/gc ) { $depth-- }
        elsif ( $text =~ /\G"/gc ) { skip_string() }
        elsif ( $text !~ /\G[-+.\w]+/gc ) { die "no value\n" }
    } while ( $depth > 0 );
    return;
}

# Skips the rest of a string. A loop, because a repeated group is limited to 32766 rounds.
sub skip_string {
    while ( $text =~ /\G[^"\\]*/gc ) {
        return if $text =~ /\G"/gc;
        $text =~ /\G\\./gcs or die "a string without an end\n";
    }
    return;
}

# Moves pos($text) from an object to the value of one of its members.
sub enter {
    my ($name) = @_;
    $text =~ /\G\s*\{/gc or die "not an object\n";
    until ( $text =~ /\G\s*\}/gc ) {
        $text =~ /\G[\s,]*/gc;
        my $key = pos $text;
        skip();
        my $found = substr( $text, $key, pos($text) - $key ) eq "\"$name\"";
        $text =~ /\G\s*:\s*/gc or die "no value\n";
        return if $found;
        skip();
    }
    die "no $name\n";
}

my $parameters = eval {
    enter('payload');
    enter('input_parameters');
    my $start = pos $text;
    $text =~ /\G(?=\{)/gc or die "not an object\n";
    skip();
    substr $text, $start, pos($text) - $start;
};
if ( !defined $parameters ) {
    print '{"error":{"code":1,"message":"the input has no object payload.input_parameters"}}', "\n";
    exit 1;
}
print '{"payload":{"result":"success","output_data":', $parameters, "}}\n";
