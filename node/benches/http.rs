//! The time that each step of a plain request takes: `cargo bench --bench http`.

#[path = "support/work.rs"]
mod work;

use criterion::{Criterion, criterion_group, criterion_main};

fn steps(criterion: &mut Criterion) {
    for (name, make) in work::STEPS {
        match make() {
            Ok(mut step) => {
                criterion.bench_function(name, |bencher| bencher.iter(&mut step));
            }
            Err(error) => eprintln!("ERROR: {name}: {error:#}"),
        }
    }
}

criterion_group!(benches, steps);
criterion_main!(benches);
