//! The embedding: a row of a table for each token.

use super::Matrix;

/// `y[i] = table[ids[i]]`, widened to `f32`.
///
/// # Errors
/// The index of the first id that is not a row of the table. `y` is then written up to there.
pub fn embed(ids: &[i64], table: &Matrix, y: &mut [f32]) -> Result<(), usize> {
    if table.cols == 0 {
        return Ok(());
    }
    for (i, (id, y)) in ids.iter().zip(y.chunks_exact_mut(table.cols)).enumerate() {
        match usize::try_from(*id) {
            Ok(row) if row < table.rows => table.widen(row * table.cols, y),
            _ => return Err(i),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::testing::{Packed, Stored};
    use super::super::{Dtype, Packing};
    use super::*;

    #[test]
    fn rows_are_widened_and_bad_ids_are_named() {
        for dtype in [Dtype::F32, Dtype::F16, Dtype::BF16] {
            let table = Stored::new(5, 7, dtype, 1);
            let mut y = vec![0.0; 21];
            assert_eq!(embed(&[4, 0, 2], &table.matrix(), &mut y), Ok(()));
            assert_eq!(y[..7], table.values[28..35]);
            assert_eq!(y[7..14], table.values[..7]);
            assert_eq!(y[14..], table.values[14..21]);
            assert_eq!(embed(&[4, 5, 2], &table.matrix(), &mut y), Err(1));
            assert_eq!(embed(&[-1], &table.matrix(), &mut y), Err(0));
        }
        let table = Packed::new(20, 7, Packing::Int8, 1);
        let mut y = vec![0.0; 14];
        assert_eq!(embed(&[19, 0], &table.matrix(), &mut y), Ok(()));
        assert_eq!((&y[..7], &y[7..]), (&table.values[133..], &table.values[..7]));
    }
}
