//! Work that is carried to its end whether or not its caller still waits.

use std::{
    pin::Pin,
    task::{Context, Poll},
};

use tokio::runtime::Handle;

/// A future that goes on by itself where its caller drops it half-way: a producer that hangs up must not keep a
/// committed delivery from its lane. While the caller waits it runs in the caller's task, which costs no hand-over
/// between threads.
pub(crate) struct Carried<T: Send + 'static>(Option<Pin<Box<dyn Future<Output = T> + Send>>>);

impl<T: Send + 'static> Carried<T> {
    pub(crate) fn new(work: impl Future<Output = T> + Send + 'static) -> Self {
        Self(Some(Box::pin(work)))
    }
}

impl<T: Send + 'static> Future for Carried<T> {
    type Output = T;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<T> {
        let Some(work) = &mut self.0 else { return Poll::Pending };
        let ready = std::task::ready!(work.as_mut().poll(context));
        self.0 = None;
        Poll::Ready(ready)
    }
}

impl<T: Send + 'static> Drop for Carried<T> {
    fn drop(&mut self) {
        // What panicked cannot go on; what has no runtime left to go on in ends with the process.
        if let Some(work) = self.0.take()
            && !std::thread::panicking()
            && let Ok(runtime) = Handle::try_current()
        {
            drop(runtime.spawn(work));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::sync::oneshot;

    use super::*;

    #[tokio::test]
    async fn work_goes_on_without_its_caller() {
        let (started, begun) = oneshot::channel();
        let (go_on, waits) = oneshot::channel();
        let (done, ended) = oneshot::channel();
        let work = Carried::new(async move {
            started.send(()).unwrap();
            waits.await.unwrap();
            done.send(()).unwrap();
        });
        let caller = tokio::spawn(work);
        begun.await.unwrap();
        caller.abort();
        assert!(caller.await.unwrap_err().is_cancelled());
        go_on.send(()).unwrap();
        tokio::time::timeout(Duration::from_secs(5), ended).await.unwrap().unwrap();
    }

    #[tokio::test]
    async fn a_caller_that_waits_gets_the_result() {
        assert_eq!(Carried::new(async { 7 }).await, 7);
    }
}
