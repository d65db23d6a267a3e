// The page for paper: every chart is drawn, in view or not, then the browser is asked to print.
(() => {
  const canvases = [...document.querySelectorAll("[data-chart]")];
  let left = 100;
  const wait = () => {
    if (left-- && canvases.some((canvas) => !("drawn" in canvas.dataset))) setTimeout(wait, 50);
    else window.print();
  };
  dispatchEvent(new Event("draw-all"));
  wait();
})();
