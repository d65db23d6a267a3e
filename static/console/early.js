// before the first paint: the stylesheet knows that there is script
document.documentElement.classList.add("js");
