//! Heads and bodies, cut anywhere.

use bytes::BytesMut;

use crate::http1::Head;
use crate::http1::body::Body;
use crate::http1::head::Framing;

#[test]
fn a_head_is_read_only_where_the_end_of_its_body_is_certain() {
    let framings = [
        ("200 OK\r\ncontent-length: 5", Framing::Length(5), true),
        ("200 OK\r\ncontent-length: 5\r\nContent-Length: 5", Framing::Length(5), true),
        ("200 OK\r\nTransfer-Encoding: Chunked", Framing::Chunked, true),
        ("200 OK\r\ncontent-length: 5\r\nconnection: x, Close", Framing::Length(5), false),
        ("200 OK", Framing::UntilClose, false),
        ("200 OK\r\nconnection: keep-alive", Framing::UntilClose, false),
        ("204 No Content", Framing::Length(0), true),
        ("204 No Content\r\ncontent-length: 7", Framing::Length(0), true),
        ("304 Not Modified\r\ncontent-length: 7", Framing::Length(0), true),
    ];
    for (head, framing, keeps_alive) in framings {
        let text = format!("HTTP/1.1 {head}\r\n\r\nbody");
        let (read, length) = Head::parse(text.as_bytes()).unwrap().unwrap();
        assert_eq!((read.framing, read.keeps_alive, &text[length..]), (framing, keeps_alive, "body"), "{head}");
        for cut in 0..length {
            assert_eq!(Head::parse(&text.as_bytes()[..cut]).unwrap(), None, "{head} cut at {cut}");
        }
    }
    let bad = [
        "HTTP/1.1 200 OK\r\ncontent-length: 5\r\ncontent-length: 6\r\n\r\n",
        "HTTP/1.1 200 OK\r\ncontent-length: +5\r\n\r\n",
        "HTTP/1.1 200 OK\r\ncontent-length: 5, 5\r\n\r\n",
        "HTTP/1.1 200 OK\r\ncontent-length: 99999999999999999999\r\n\r\n",
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\ncontent-length: 5\r\n\r\n",
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\ntransfer-encoding: chunked\r\n\r\n",
        "HTTP/1.1 200 OK\r\ntransfer-encoding: gzip, chunked\r\n\r\n",
        "HTTP/1.0 200 OK\r\ntransfer-encoding: chunked\r\n\r\n",
        "HTTP/1.1 200 OK\r\nname : value\r\n\r\n",
        "HTTP/2 200 OK\r\n\r\n",
        "SSH-2.0-OpenSSH_9.2\r\n",
        "{\"error\":1}",
    ];
    for text in bad {
        assert!(Head::parse(text.as_bytes()).is_err(), "{text}");
    }
    let kept = |lines: &str| Head::parse(format!("HTTP/1.0 200 OK\r\n{lines}\r\n").as_bytes()).unwrap().unwrap().0;
    assert!(!kept("content-length: 1\r\n").keeps_alive);
    assert!(kept("content-length: 1\r\nconnection: keep-alive\r\n").keeps_alive);
}

#[test]
fn a_body_comes_out_the_same_wherever_it_is_cut() {
    let cases = [
        (Framing::Length(5), "hello", "hello", true),
        (Framing::Length(0), "", "", true),
        (Framing::Length(6), "hello", "hello", false),
        (Framing::UntilClose, "hello", "hello", false),
        (Framing::Chunked, "5\r\nhello\r\n0\r\n\r\n", "hello", true),
        (Framing::Chunked, "3;a=\"b\"\r\nhel\r\n02 \r\nlo\r\n000\r\n\r\n", "hello", true),
        (Framing::Chunked, "5\r\nhello\r\n0\r\nx-sum: 1\r\nx-more: 2\r\n\r\n", "hello", true),
        (Framing::Chunked, "5\r\nhello\r\n0\r\n", "hello", false),
        (Framing::Chunked, "5\r\nhello\r\n", "hello", false),
    ];
    for (framing, bytes, expected, whole) in cases {
        for size in 1..=bytes.len().max(1) {
            let (mut body, mut inbox, mut out) = (Body::new(framing), BytesMut::new(), BytesMut::new());
            for piece in bytes.as_bytes().chunks(size) {
                inbox.extend_from_slice(piece);
                body.take(&mut inbox, &mut out).unwrap();
            }
            assert_eq!((&out[..], body.is_whole()), (expected.as_bytes(), whole), "{bytes:?} by {size}");
        }
    }
    let long_line = format!("5;{}", "x".repeat(8 << 10));
    let long_trailer = format!("0\r\n{}", "a: b\r\n".repeat(4 << 10));
    let endless_line = format!("0\r\n{}", "x".repeat(32 << 10));
    let bad = [
        "\r\nhello",
        "g\r\n",
        "-1\r\n",
        "5\nhello",
        "2\r\nhello",
        "fffffffffffffffff\r\n",
        &long_line,
        &long_trailer,
        &endless_line,
    ];
    for bytes in bad {
        let (mut body, mut out) = (Body::new(Framing::Chunked), BytesMut::new());
        assert!(body.take(&mut BytesMut::from(bytes), &mut out).is_err(), "{:?}", &bytes[..bytes.len().min(40)]);
    }
}
