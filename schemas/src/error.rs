//! What can be wrong with bytes.

/// Why bytes do not decode. Whoever reads a file or a topic adds where it was.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// The bytes end before the value does.
    #[error("the bytes end early: {wanted} more were needed, {left} are left")]
    Short {
        /// Bytes needed beyond those that are left.
        wanted: usize,
        /// Bytes left.
        left: usize,
    },
    /// A length or count beyond its bound, or beyond the bytes that are there.
    #[error("a length of {length} is beyond the bound of {max}")]
    TooLong {
        /// The length or count claimed.
        length: u64,
        /// The bound.
        max: usize,
    },
    /// Arrays, maps and tags nested too deep.
    #[error("values are nested deeper than {max} levels")]
    TooDeep {
        /// The bound.
        max: usize,
    },
    /// A varint of more than 64 bits.
    #[error("a varint has more than 64 bits")]
    Varint,
    /// Text that is not UTF-8.
    #[error("text is not UTF-8")]
    Utf8,
    /// A value that its field cannot have.
    #[error("{0} is not valid")]
    Invalid(&'static str),
    /// Bytes are left over where none may be.
    #[error("{0} bytes are left over")]
    Trailing(usize),
    /// Well-formed CBOR of another shape than the type's.
    #[error("CBOR does not decode: {0}")]
    Cbor(String),
    /// A message of a format that this version does not know.
    #[error("message format {0} is not known to this program: update the older side")]
    Format(u32),
    /// Compressed bytes that do not unpack within their bound.
    #[error("compressed bytes do not unpack: {0}")]
    Pack(String),
}
