use std::sync::Arc;

use bytes::Bytes;

use super::{parse, parse_tree};
use crate::diag::{Diagnostic, Place, Sources, render};
use crate::ops::Registry;
use crate::syntax::findings::Findings;
use crate::tensor::Tensor;

/// All that is reported for a text, rendered.
fn findings(text: &str) -> Vec<String> {
    let mut sources = Sources::default();
    let id = sources.add("a.qir", text).unwrap();
    let mut problems = Findings::default();
    parse_tree(text, id, &mut problems);
    problems.finish().0.iter().map(|problem| render(problem, &sources, false)).collect()
}

const BLOCK: &str = r#"// One convolution, scales assigned.
qir 1

type !act = q<i8, scale 0.0235, zero -3>         // real = (v - zero) * scale
type !wgt = q<i8, axis 0, scale @w.scale>   // one scale per output channel

graph @block(%x: f32[1, 8, 16, 16] in [-1.0, 2.5]) -> (%y: f32[1, 16, 16, 16]) {
  %w  = const @w                             : !wgt[16, 8, 3, 3]
  %b  = const @b                             : i32[16]
  %xq = quantize %x                          : !act[1, 8, 16, 16]
  %yq = conv2d %xq, %w, _, %b {pads = [1, 1, 1, 1], strides = [1, 1]}
                                             : !act[1, 16, 16, 16]  loc("net.onnx", "Conv_0")
  %lo, %hi = split %yq {axis = 1}            : !act[1, 8, 16, 16], !act[1, 8, 16, 16] in @r
  %"a:0", %/b/c = return %lo, %hi {type = i8, in = -inf, loc = "é\u{41}", return = []} : f32["a b", N], f32[]
  %y  = dequantize %yc                       : f32[1, 16, 16, 16]
  return %y
}

data @w       : i8[16, 8, 3, 3] = file "block.safetensors" "w" sha256 "9f2c"
data @b       : i32[4]         = [0, 12, -7, nan(0x7fc00000)]
"#;

#[test]
fn a_whole_file_reads() {
    assert_eq!(findings(BLOCK), Vec::<String>::new());
}

#[test]
fn one_line_reads() {
    let text = "qir 1 graph @g(%x: f32[1]) -> (%y: f32[1]) { %y = relu %x : f32[1] %z, %w = relu %x : f32[1] return %y } data @a : i8[] = [1]";
    assert_eq!(findings(text), Vec::<String>::new());
}

#[test]
fn every_error_is_found_once() {
    let text = r#"qir 1
type !a = q<i8 scale 3>
graph @g(%x: f32[1]) -> (%y: f32[1]) {
  %a = relu %x,, %b : f32[1]
  %b = relu %x
  %c = relu %x {alpha = = 3, beta = 2} : f32[1]
  %d = relu %x {alpha = 3 : f32[1]
  %e = relu %x alpha = 3} : f32[1]
  garbage here
  %f = relu %x,
  %g = relu € %x : f32[1] "open
  return %y
}
data w : f32[1] = [1]
data @w f32[1] = [1]
data @w : f32[1] = [1,]
data @v : f32[1] = [1]
"#;
    let all = findings(text);
    let lines: Vec<_> = all.iter().filter_map(|f| f.split("a.qir:").nth(1)?.split(':').next()).collect();
    assert_eq!(lines, ["2", "4", "5", "6", "7", "8", "10", "11", "11", "14", "15", "16"], "{all:#?}");
}

#[test]
fn the_layout_keeps_comments_and_is_its_own_layout() {
    let messy = r#"
// top


// second
qir 1 // v
type !a = f32 // a
// b
type !bbbb=i8
graph @g( %x : f32 [ N , 3 ] in [ -1.0 , 2.0 ] name "foo" loc ( "a" , "b" ) , %y : f32[1]) -> ( %y : f32[1] ) { // open

  // lead
  %a , %b = split %x , _ { axis = 1 , data = [ 1 , 2 ] } : f32 [ 1 ] , f32[ 2 ] loc("a","b")  loc("a","c") // done
  %averyveryveryverylongname = relu %x : f32[1]
  %c = relu // why
    %x // not
    // because
    { a = 1 } : f32[1]

  %averyveryveryverylongname2 = conv2d %averyveryveryverylongname2, %averyveryveryverylongname2 : f32[1]
  %q = quantize %x : q< i8 , axis 1 , scale [ 1.0 , 2.0 ] , zero @z >[1]
  return %a, %b // ret
  // end
} // close
data @x : f32[3,3] = [ 1, 0, -1, // sobel
 2, 0, -2,

 1, 0, -1 ]
data @long : f64[8] = [0.1234567890123, 0.1234567890123, 0.1234567890123, 0.1234567890123, 0.1234567890123, 0.1234567890123, 0.1234567890123, 0.1234567890123]
graph @h(%xxxxxxxxxxxxxxxxxxxxxx: f32[1000, 1000], %yyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyy: f32[1000], %z: f32[3]) -> () { return }
// bye
"#;
    let neat = r#"// top

// second
qir 1  // v

type !a    = f32  // a
// b
type !bbbb = i8

graph @g(%x: f32[N, 3] in [-1.0, 2.0] name "foo" loc("a", "b"), %y: f32[1]) -> (%y: f32[1]) {  // open
  // lead
  %a, %b = split %x, _ {axis = 1, data = [1, 2]} : f32[1], f32[2]  loc("a", "b")  loc("a", "c")  // done
  %averyveryveryverylongname = relu %x           : f32[1]
  %c     = relu  // why
      %x  // not
      // because
      {a = 1}                                    : f32[1]

  %averyveryveryverylongname2 = conv2d %averyveryveryverylongname2, %averyveryveryverylongname2
                   : f32[1]
  %q = quantize %x : q<i8, axis 1, scale [1.0, 2.0], zero @z>[1]
  return %a, %b  // ret
  // end
}  // close

data @x    : f32[3, 3] = [1, 0, -1,  // sobel
  2, 0, -2,
  1, 0, -1]
data @long : f64[8]    = [
  0.1234567890123, 0.1234567890123, 0.1234567890123, 0.1234567890123, 0.1234567890123,
  0.1234567890123, 0.1234567890123, 0.1234567890123
]

graph @h(
    %xxxxxxxxxxxxxxxxxxxxxx: f32[1000, 1000],
    %yyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyy: f32[1000],
    %z: f32[3]
) -> () {
  return
}
// bye
"#;
    assert_eq!(super::lay_out(messy), neat);
    assert_eq!(super::lay_out(neat), neat);
    let block = super::lay_out(BLOCK);
    assert_eq!(super::lay_out(&block), block);
}

/// The codes of all findings of reading a graph, with the text that each points to.
fn faults(text: &str) -> Vec<(&'static str, String)> {
    let mut sources = Sources::default();
    let id = sources.add("a.qir", text).unwrap();
    let mut load = |path: &str| match path {
        "w.safetensors" => Ok(side_file()),
        _ => Err(std::io::Error::new(std::io::ErrorKind::NotFound, "no such file")),
    };
    let found = parse(text, id, &Registry::built_in(), &mut load).map(drop).err().unwrap_or_default();
    let at = |finding: &Diagnostic| match finding.labels.first().map(|label| &label.place) {
        Some(Place::Text(span)) => text[span.range()].to_owned(),
        _ => String::new(),
    };
    found.0.iter().map(|finding| (finding.code, at(finding))).collect()
}

/// One tensor `w`: f32[2] of 1.0 and 2.0.
fn side_file() -> Bytes {
    let tensors = [("w".to_owned(), Arc::new(Tensor::vector(vec![1.0f32, 2.0])))].into();
    super::Text { qir: String::new(), tensors }.safetensors().unwrap().unwrap().into()
}

#[test]
fn faults_point_to_what_is_wrong() {
    let text = r#"qir 2
type !a = !b
type !c = q<i8, scale 0.1, scale 0.2>
type !c = q<i9, scale @u, zero 0.5, axis [1]>
type !d = q<i8, zero 1>
type !e = q<i8, offset 1>
graph @g(%x: f32[1], %x: f32[1]) -> (%y: f32[2], %y: f32[1]) {
  %a = rely %x : f32[1]
  %b = relu %nope : f32[1] in [1]
  %c = relu %y : f32[1]
  %d = clip %x {min = "2.5", lowest = "1", min = 2} : f32[1]
  %e, %f = relu %x : f32[1]
  %h = relu %a : f32[1] in @w
  %x = const @ww : float[1]
  %y = relu %x : f32[1]
  return %y
  %z = relu %x : f32[-1]
}
data @w : f32[2] = [1, 2, 3]
data @i : i8[2] = [1, 200]
data @i : q<i8, scale 1.0>[2] = [1, 2]
data @j : f32[N] = [1]
graph @h() -> () { return }
"#;
    let found = faults(text);
    let found: Vec<_> = found.iter().map(|(code, at)| (*code, &**at)).collect();
    let expected = [
        ("Q0107", "2"),
        ("Q0110", "!b"),
        ("Q0115", "scale"),
        ("Q0108", "!c"),
        ("Q0114", "i9"),
        ("Q0111", "@u"),
        ("Q0106", "0.5"),
        ("Q0115", "[1]"),
        ("Q0115", "q<i8, zero 1>"),
        ("Q0115", "offset"),
        ("Q0108", "%x"),
        ("Q0123", "f32[2]"),
        ("Q0108", "%y"),
        ("Q0301", "rely"),
        ("Q0109", "%nope"),
        ("Q0116", "[1]"),
        ("Q0109", "%y"),
        ("Q0306", "\"2.5\""),
        ("Q0304", "lowest"),
        ("Q0112", "min"),
        ("Q0113", "%e, %f"),
        ("Q0108", "%x"),
        ("Q0111", "@ww"),
        ("Q0114", "float"),
        ("Q0123", "return %y"),
        ("Q0123", "%z = relu %x : f32[-1]"),
        ("Q0106", "-1"),
        ("Q0117", "[1, 2, 3]"),
        ("Q0106", "200"),
        ("Q0108", "@i"),
        ("Q0118", "q<i8, scale 1.0>[2]"),
        ("Q0118", "f32[N]"),
        ("Q0124", "@h"),
    ];
    assert_eq!(found, expected);
}

#[test]
fn data_files_are_checked() {
    let with = |data: &str| {
        faults(&format!(
            "qir 1\ngraph @g() -> () {{\n  %w = const @w : f32[2]\n  return\n}}\ndata @w : {data}"
        ))
    };
    let sha256 = super::data::hex(&Tensor::vector(vec![1.0f32, 2.0]).sha256());
    let file = |path: &str, tensor: &str| format!(r#"file "{path}" "{tensor}" sha256 "{sha256}""#);
    assert_eq!(with(&format!("f32[2] = {}", file("w.safetensors", "w"))), []);
    assert_eq!(with("f32[2] = file \"w.safetensors\" \"w\""), []);
    let code =
        |data: String| with(&data).into_iter().map(|(code, at)| format!("{code} {at}")).collect::<Vec<_>>();
    assert_eq!(code(format!("f32[2] = {}", file("w.safetensors", "v"))), [r#"Q0121 "v""#]);
    assert_eq!(code(format!("f32[1] = {}", file("w.safetensors", "w"))), [r#"Q0121 "w""#]);
    assert_eq!(code(format!("i32[2] = {}", file("w.safetensors", "w"))), [r#"Q0121 "w""#]);
    assert_eq!(code(format!("f32[2] = {}", file("v.safetensors", "w"))), [r#"Q0120 "v.safetensors""#]);
    for path in ["", "/w", "../w", "a/../../w", "a\\\\w", "C:w"] {
        assert_eq!(code(format!("f32[2] = {}", file(path, "w"))), [format!(r#"Q0119 "{path}""#)]);
    }
    let other = r#"f32[2] = file "w.safetensors" "w" sha256 "00""#.to_owned();
    assert_eq!(code(other), [r#"Q0122 "00""#]);
    assert_eq!(code("f32[99999999999, 99999999999] = [1]".to_owned()), ["Q0117 [1]"]);
}

#[test]
fn hostile_data_files_are_refused() {
    let good = side_file();
    for cut in 0..good.len() {
        let mut load = |_: &str| Ok(good.slice(..cut));
        let text = "qir 1 graph @g() -> () { return } data @w : f32[2] = file \"w\" \"w\" sha256 \"\"";
        let mut sources = Sources::default();
        let id = sources.add("a.qir", text).unwrap();
        assert!(parse(text, id, &Registry::built_in(), &mut load).is_err());
    }
}
